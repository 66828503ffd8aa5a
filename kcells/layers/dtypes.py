"""Floats have the compute dtype of the layer; everything else keeps its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.types import Structure, Tensor

__all__ = ["cast_floats", "computed_dtype"]


def computed_dtype(leaf: Any, dtype: str) -> str:
    """The dtype of `leaf` once its floats are cast to `dtype`."""
    own = keras.backend.standardize_dtype(leaf.dtype)
    return dtype if keras.backend.is_float_dtype(own) else own


def cast_floats(structure: Structure, dtype: str) -> Structure:
    """`structure` as tensors, those of floats in `dtype`."""

    def cast(leaf: Tensor) -> Tensor:
        # Most leaves are what they should be, and each operation costs its call.
        if not ops.is_tensor(leaf):
            leaf = ops.convert_to_tensor(leaf)
        wanted = computed_dtype(leaf, dtype)
        is_right = keras.backend.standardize_dtype(leaf.dtype) == wanted
        return leaf if is_right else ops.cast(leaf, wanted)

    return tree.map_structure(cast, structure)
