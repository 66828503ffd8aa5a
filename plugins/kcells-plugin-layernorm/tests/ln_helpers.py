"""Layers with random weights and sequences of every kind, for the tests beside this file."""

from __future__ import annotations

import keras
import numpy as np

import kcells

__all__ = ["BATCH", "FEATURES", "MASK", "TIME", "UNITS", "as_numpy", "make_layer", "make_sequences"]

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def make_layer(rng, cell_class, dtype="float64", **options):
    """A layer with random weights, gains and shifts too."""
    cell = cell_class(UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def make_sequences(rng, dtype="float64"):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype(dtype)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")
