"""What the tests of this plugin share: sizes, layers with random weights, a comparison."""

from __future__ import annotations

import keras
import numpy as np

import kcells

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# Rows of every kind: full, padded at the end, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], bool)


def built(name, units=UNITS, features=FEATURES, **arguments):
    """A bare cell with weights as they start."""
    cell = kcells.cell(name, units, **arguments)
    cell.build((None, features))
    return cell


def make_layer(rng, name, units=UNITS, features=FEATURES, dtype="float32", **options):
    """A layer with random weights, which returns sequences and states."""
    layer = kcells.RNN(
        kcells.cell(name, units, dtype=dtype, **options),
        dtype=dtype,
        return_sequences=True,
        return_state=True,
    )
    layer.build((BATCH, TIME, features))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    return layer


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def weights_of(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


def assert_close(actual, expected, tolerance=1e-5):
    """Relative to the largest entry: the small ones are differences of large ones."""
    actual, expected = as_numpy(actual), as_numpy(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
