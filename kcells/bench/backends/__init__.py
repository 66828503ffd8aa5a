"""What is measured in a backend's own terms: bare products, and the layers of others.

One module a backend, and each is imported in a process of that backend alone; a backend
itself is imported inside of the functions, so that looking at a module costs nothing.
`products(shapes, batch, steps)` is in each: the floor of `kcells.bench.floor`.
"""

from __future__ import annotations

from typing import Any

import keras

from kcells.errors import ConfigurationError

__all__ = ["backend_module"]


def backend_module() -> Any:
    """The module of the running backend."""
    name = keras.backend.backend()
    if name == "tensorflow":
        from kcells.bench.backends import tensorflow

        return tensorflow
    if name == "jax":
        from kcells.bench.backends import jax

        return jax
    if name == "torch":
        from kcells.bench.backends import torch

        return torch
    raise ConfigurationError(
        f"kcells measures on TensorFlow, JAX and PyTorch; the running backend is {name!r}.\n"
        f"  Set KERAS_BACKEND to tensorflow, jax or torch."
    )
