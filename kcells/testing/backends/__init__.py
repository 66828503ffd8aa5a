"""What the checks need in a backend's own terms; one module a backend.

Each has `differentiated(call, trained, others)`, a function of leaves and cotangents that gives
results and gradients; `compiled(function)`, the function as one program, or None where Keras
compiles nothing; and `double_precision()`, a context in which float64 exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kcells.errors import ConfigurationError

__all__ = ["backend_module", "is_float", "weighted_sum"]


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


def weighted_sum(results: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    """The sum of all results, each number with a weight of its own; ints are left out."""
    return sum(
        ops.sum(r * ops.reshape(ops.convert_to_tensor(c, r.dtype), r.shape))
        for r, c in zip(results, cotangents, strict=True)
        if is_float(r)
    )


def is_float(tensor: Any) -> bool:
    """Whether a gradient can be taken."""
    return "float" in keras.backend.standardize_dtype(tensor.dtype)
