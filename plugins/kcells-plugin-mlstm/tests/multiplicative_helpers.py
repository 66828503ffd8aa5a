"""Layers with random weights and sequences of every kind, for the tests beside this file."""

from __future__ import annotations

import keras
import numpy as np

import kcells

__all__ = ["BATCH", "FEATURES", "MASK", "TIME", "UNITS", "as_numpy", "assert_same", "make_layer"]

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def make_layer(rng, cell_class, dtype="float64", **options):
    """A layer with random weights, vectors and biases too."""
    cell = cell_class(UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def assert_same(layer, plain, weights, rng):
    """`layer`, made by `make_layer`, gives what the layer of Keras gives with `weights`."""
    plain.build((BATCH, TIME, FEATURES))
    plain.set_weights(weights)
    # The last feature is always 1: what is multiplied with it is a constant.
    sequences = rng.normal(size=(BATCH, TIME, FEATURES))
    sequences[..., -1] = 1.0
    for ours, theirs in zip(layer(sequences), plain(sequences), strict=True):
        np.testing.assert_allclose(as_numpy(ours), as_numpy(theirs), rtol=0, atol=1e-10)
