"""What the modules of all backends share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["is_float", "weighted_sum"]


def weighted_sum(results: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    """The sum of all results, each number with a weight of its own; ints are left out."""
    return sum(
        ops.sum(r * ops.reshape(ops.convert_to_tensor(c, r.dtype), ops.shape(r)))
        for r, c in zip(results, cotangents, strict=True)
        if is_float(r)
    )


def is_float(tensor: Any) -> bool:
    """Whether a gradient can be taken."""
    return "float" in keras.backend.standardize_dtype(tensor.dtype)
