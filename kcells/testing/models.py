"""Models around a cell."""

from __future__ import annotations

from typing import Any

import keras

from kcells.layers.rnn import RNN
from kcells.structure import map_leaves
from kcells.types import Structure

__all__ = ["functional"]


def functional(layer: RNN, sequences: Structure) -> Any:
    """A functional model that gives the outputs of `layer`, for any batch and any length.

    Args:
        layer: returns sequences and states.
        sequences: arrays `(batch, time, ...)` like those that will go in.
    """
    inputs = map_leaves(
        lambda leaf, _: keras.Input((None, *leaf.shape[2:]), dtype=str(leaf.dtype)), sequences
    )
    return keras.Model(inputs, layer(inputs)[0])
