"""What the tests share: layers with random weights, and their numbers."""

from __future__ import annotations

import keras
import numpy as np

import kcells

__all__ = [
    "BATCH",
    "FEATURES",
    "MASK",
    "TIME",
    "UNITS",
    "as_numpy",
    "assert_near",
    "built",
    "features_of",
    "make_layer",
    "units_of",
]

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def features_of(cell):
    """How many features the tests give to a cell."""
    return UNITS if cell == "intersection_rnn" else FEATURES


def units_of(cell):
    """How many units the tests give to a cell."""
    return 4 if cell == "glstm" else UNITS


def make_layer(cell, rng, dtype="float32", **options):
    """A layer of this cell with random weights, in a loop."""

    made = kcells.cell(cell, units_of(cell), dtype=dtype, **options)
    layer = kcells.RNN(made, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, features_of(cell)))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def built(cell, **arguments):
    made = kcells.cell(cell, units_of(cell), **arguments)
    made.build((None, features_of(cell)))
    return made


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def assert_near(actual, expected, tolerance=1e-5):
    """Within `tolerance` of the largest entry, in every tensor of two lists."""
    for one, other in zip(actual, expected, strict=True):
        one, other = as_numpy(one), as_numpy(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())
