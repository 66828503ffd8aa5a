"""What all cells of this package do: bring a vector to mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["checked_epsilon", "standardized"]


def standardized(a: Tensor, epsilon: float) -> Tensor:
    """`(a - mean) / sqrt(variance + epsilon)` over the last axis; gain and shift come after.

    In float32, or float64 if that is what there is: in half precision the sums lose
    the small deviations that the variance is made of, and squares overflow float16.
    """
    dtype = keras.backend.standardize_dtype(a.dtype)
    a = ops.cast(a, "float64" if dtype == "float64" else "float32")
    centered = a - ops.mean(a, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    return ops.cast(centered * ops.rsqrt(variance + epsilon), dtype)


def checked_epsilon(who: str, epsilon: Any) -> float:
    """`epsilon`, which has to be a positive float.

    Raises:
        ConfigurationError: if it is not.
    """
    if isinstance(epsilon, (int, float)) and epsilon > 0:
        return epsilon
    raise ConfigurationError(f"{who}: epsilon must be a positive float; received {epsilon!r}.")
