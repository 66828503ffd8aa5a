"""One module a backend. This package alone imports TensorFlow, JAX and PyTorch."""

from __future__ import annotations

import functools
from typing import cast

from kcells.engine.backends.base import Backend
from kcells.running import backend_module

__all__ = ["Backend", "current"]


@functools.cache
def current() -> Backend:
    """The module for the backend that Keras was imported with.

    Raises:
        ConfigurationError: if kcells has no module for it.
    """
    return cast(Backend, backend_module(__name__))
