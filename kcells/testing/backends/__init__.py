"""What the checks need in a backend's own terms; one module a backend.

Each has `differentiated(call, trained, others)`, a function of leaves and cotangents that gives
results and gradients; `compiled(function)`, the function as one program, or None where Keras
compiles nothing; and `double_precision()`, a context in which float64 exists.
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
        from kcells.testing.backends import tensorflow

        return tensorflow
    if name == "jax":
        from kcells.testing.backends import jax

        return jax
    if name == "torch":
        from kcells.testing.backends import torch

        return torch
    raise ConfigurationError(
        f"kcells checks cells on TensorFlow, JAX and PyTorch; the running backend is {name!r}.\n"
        "  Set KERAS_BACKEND to tensorflow, jax or torch."
    )
