"""What the tests of this plugin share: sizes, layers with random weights, comparisons."""

from __future__ import annotations

import keras
import numpy as np

import kcells

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def make_layer(rng, name, units=UNITS, dtype="float32", scale=0.7, **options):
    """A layer with random weights; returns sequences and states."""
    layer = kcells.RNN(
        kcells.cell(name, units, dtype=dtype, **options),
        dtype=dtype,
        return_sequences=True,
        return_state=True,
    )
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, scale, weight.shape))
    return layer


def built(name, units=UNITS, features=FEATURES, **arguments):
    cell = kcells.cell(name, units, **arguments)
    cell.build((None, features))
    return cell


def make_inputs(rng, dtype="float32"):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype(dtype)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def weights_of(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


def assert_close(actual, expected, tolerance=1e-5):
    """Relative to the largest entry: the small ones are differences of large ones."""
    expected = as_numpy(expected)
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(as_numpy(actual), expected, rtol=0, atol=atol)
