"""One module a backend. This package alone imports TensorFlow, JAX and PyTorch."""

from __future__ import annotations

import functools
import importlib
from typing import cast

import keras

from kcells.engine.backends.base import Backend
from kcells.errors import ConfigurationError

__all__ = ["Backend", "current"]


@functools.cache
def current() -> Backend:
    """The module for the backend that Keras was imported with.

    Raises:
        ConfigurationError: if kcells has no module for it.
    """
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax", "torch"):
        raise ConfigurationError(
            f'kcells runs on the backends "tensorflow", "jax" and "torch"; Keras uses "{name}".\n'
            "  Set KERAS_BACKEND before Keras is imported."
        )
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))
