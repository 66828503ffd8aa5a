"""Models around a cell."""

from __future__ import annotations

import re
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
    inputs = map_leaves(_input, sequences)
    return keras.Model(inputs, layer(inputs)[0])


def _input(leaf: Any, path: str) -> Any:
    # Keras wants the inputs of a dict to have the names of its keys.
    name = "_".join(re.findall(r"\w+", path)) or None
    return keras.Input((None, *leaf.shape[2:]), dtype=str(leaf.dtype), name=name)
