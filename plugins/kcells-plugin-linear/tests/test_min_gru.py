"""The minGRU against its NumPy reference, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from min_gru_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import MinGRUCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [{}, {"activation": "positive"}, {"use_bias": False}]


def make_layer(rng, dtype="float32", **options):
    """A layer with random weights."""
    cell = MinGRUCell(UNITS, dtype=dtype, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def built(**arguments):
    cell = MinGRUCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, "float64", **options)
    positive = options.get("activation") == "positive"
    reference = functools.partial(run, mask=MASK, positive=positive)
    compare(layer, rng.normal(size=(BATCH, TIME, FEATURES)), reference, MASK)


def test_the_candidate_of_the_log_space_variant():
    """Below the paper's g: 1/2 at zero from both sides, slope 1 above, sigmoid below."""
    cell = MinGRUCell(5, activation="positive", use_bias=False)
    cell.build((None, 5))
    # z is one to the last digit; the candidate is g of the inputs.
    cell.kernel.assign(np.hstack([np.zeros((5, 5)), np.eye(5)]))
    values = np.array([[-30.0, -1.0, 0.0, 1.0, 30.0]], "float32")
    (output, _) = cell(values, [np.zeros((1, 5), "float32")])
    expected = [[9.357623e-14, 0.26894142, 0.5, 1.5, 30.5]]
    np.testing.assert_allclose(2.0 * as_numpy(output), expected, rtol=1e-6)


def test_an_open_gate_forgets_to_the_last_digit(rng):
    """1 - z would be 0 in float32; sigmoid(-a) is what it should be."""
    layer = make_layer(rng, use_bias=False)
    layer.cell.kernel.assign(np.hstack([np.full((2, 3), 10.0), np.zeros((2, 3))]))
    ones = np.ones((BATCH, 1, FEATURES), "float32")
    _, state = layer(ones, initial_state=np.ones((BATCH, UNITS), "float32"))
    np.testing.assert_allclose(as_numpy(state), np.exp(-20.0), rtol=1e-5)


# -- Dropout. With z = 1/2 and an identity for the candidate, h_1 is half of what is left.


def run_transparent(size=24, batch=40, time=3, **options):
    layer = kcells.RNN(MinGRUCell(size, use_bias=False, **options), return_sequences=True)
    layer.build((None, None, size))
    layer.cell.kernel.assign(np.hstack([np.zeros((size, size)), np.eye(size)]))
    return as_numpy(layer(np.ones((batch, time, size), "float32"), training=True))


def test_dropout():
    outputs = run_transparent(dropout=0.25)
    kept = outputs != 0.0
    expected = np.broadcast_to((1 - 0.5 ** np.arange(1, 4))[:, None] / 0.75, outputs.shape)
    np.testing.assert_allclose(outputs[kept], expected[kept], rtol=1e-6)
    assert (kept == kept[:, :1]).all(), "the mask changes from step to step"
    assert not (kept == kept[:1]).all(), "all samples share one mask"
    # 960 draws: the standard error of the mean is 0.014.
    assert abs(kept[:, 0].mean() - 0.75) < 0.07


# -- Arguments


@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(units):
    with pytest.raises(ConfigurationError, match="MinGRUCell: units must be a positive int; rec"):
        MinGRUCell(units)


def test_the_rate_must_be_in_range():
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        MinGRUCell(UNITS, dropout=1.0)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="negative"):
        MinGRUCell(UNITS, activation="negative")


@pytest.mark.parametrize("inputs", [{"a": np.ones((2, 4, 3))}, np.ones((2, 4, 3, 3))])
def test_inputs_must_be_one_tensor(inputs):
    with pytest.raises(StructureError, match=r"MinGRUCell: .* one tensor of \(batch, features\)"):
        kcells.build("min_gru", UNITS)(inputs)
