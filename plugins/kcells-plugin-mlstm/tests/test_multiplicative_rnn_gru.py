"""The multiplicative RNN and GRU against NumPy, Keras' own layers, and each argument."""

import functools

import keras
import numpy as np
import pytest
from multiplicative_helpers import (
    BATCH,
    FEATURES,
    MASK,
    TIME,
    UNITS,
    as_numpy,
    assert_same,
    make_layer,
)
from multiplicative_reference import run_gru, run_rnn

from kcells.errors import ConfigurationError
from kcells_plugin_mlstm import MultiplicativeGRUCell, MultiplicativeRNNCell

CASES = [
    (MultiplicativeRNNCell, run_rnn, {}),
    (MultiplicativeRNNCell, run_rnn, {"factors": 4, "use_bias": False}),
    (MultiplicativeRNNCell, run_rnn, {"factors": 2}),
    (MultiplicativeGRUCell, run_gru, {}),
    (MultiplicativeGRUCell, run_gru, {"use_bias": False}),
]
CELLS = [MultiplicativeRNNCell, MultiplicativeGRUCell]
WEIGHTS = {
    "kernel": {"kernel"},
    "recurrent": {"recurrent_kernel", "multiplicative_kernel"},
    "bias": {"bias"},
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("cell", "run", "options"), CASES)
def test_outputs_states_and_gradients(cell, run, options, rng, compare):
    layer = make_layer(rng, cell, **options)
    sequences = rng.normal(size=(BATCH, TIME, FEATURES))
    compare(layer, sequences, functools.partial(run, mask=MASK), MASK)


@pytest.mark.usefixtures("float64")
def test_with_a_constant_factor_it_is_a_simple_rnn(rng):
    """With `W_mx x = 1` the recurrent matrix is the product of the other two."""
    layer = make_layer(rng, MultiplicativeRNNCell, factors=4)
    kernel, inner, outer, bias = layer.get_weights()
    kernel[:, UNITS:] = [[0.0], [1.0]]
    layer.cell.kernel.assign(kernel)
    plain = keras.layers.SimpleRNN(UNITS, return_sequences=True, return_state=True)
    assert_same(layer, plain, [kernel[:, :UNITS], inner @ outer, bias], rng)


@pytest.mark.usefixtures("float64")
def test_with_m_equal_to_h_it_is_a_gru(rng):
    layer = make_layer(rng, MultiplicativeGRUCell)
    kernel, _, recurrent, bias = layer.get_weights()
    kernel[:, 3 * UNITS :] = [[0.0], [1.0]]
    layer.cell.kernel.assign(kernel)
    layer.cell.multiplicative_kernel.assign(np.eye(UNITS))
    options = {"return_sequences": True, "return_state": True, "reset_after": False}
    plain = keras.layers.GRU(UNITS, **options)
    assert_same(layer, plain, [kernel[:, : 3 * UNITS], recurrent, bias], rng)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_the_state_acts_on_m_alone(cell, rng):
    """The state that a GRU carries over is whole: with z = 1 nothing is lost."""
    layer = make_layer(rng, cell, "float32", recurrent_dropout=0.9, seed=1)
    sequences = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    state = np.ones((BATCH, UNITS), "float32")
    runs = [as_numpy(layer(sequences, initial_state=state, training=on)[0]) for on in (0, 1)]
    assert not np.allclose(*runs)
    if cell is MultiplicativeGRUCell:
        layer.cell.bias.assign(np.repeat([100.0, 0.0, 0.0], UNITS))
        outputs = as_numpy(layer(sequences, initial_state=state, training=True)[0])
        np.testing.assert_allclose(outputs, 1.0, rtol=1e-6)


@pytest.mark.parametrize("factors", [0, -1, 2.5, "8", True])
def test_factors_must_be_a_positive_int(factors):
    with pytest.raises(ConfigurationError, match="RNNCell: factors must be a positive int; rec"):
        MultiplicativeRNNCell(UNITS, factors=factors)


def test_there_are_as_many_factors_as_units_by_default():
    assert MultiplicativeRNNCell(5).factors == 5
