"""Multiplicative integration against NumPy, Keras' own layers, and each argument."""

import functools

import keras
import numpy as np
import pytest
from integration_reference import run
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

from kcells_plugin_mlstm import IntegrationGRUCell, IntegrationLSTMCell, IntegrationRNNCell

CELLS = {
    "mi_rnn": (IntegrationRNNCell, keras.layers.SimpleRNN, {}),
    "mi_gru": (IntegrationGRUCell, keras.layers.GRU, {"reset_after": False}),
    "mi_lstm": (IntegrationLSTMCell, keras.layers.LSTM, {}),
}
PARTS = {
    "kernel": {"kernel"},
    "recurrent": {"recurrent_kernel"},
    "bias": {"bias"},
}


def built(cell, **arguments):
    made = CELLS[cell][0](UNITS, **arguments)
    made.build((None, FEATURES))
    return made


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_outputs_states_and_gradients(cell, use_bias, rng, compare):
    layer = make_layer(rng, CELLS[cell][0], use_bias=use_bias)
    assert len(layer.weights) == (6 if use_bias else 5)
    sequences = rng.normal(size=(BATCH, TIME, FEATURES))
    compare(layer, sequences, functools.partial(run, mask=MASK, cell=cell), MASK)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("cell", CELLS)
def test_without_products_it_is_the_layer_of_keras(cell, rng):
    ours, theirs, options = CELLS[cell]
    layer = make_layer(rng, ours)
    kernel, recurrent, alpha, *_, bias = layer.get_weights()
    zeros, ones = np.zeros_like(alpha), np.ones_like(alpha)
    layer.set_weights([kernel, recurrent, zeros, ones, ones, bias])
    plain = theirs(UNITS, return_sequences=True, return_state=True, **options)
    assert_same(layer, plain, [kernel, recurrent, bias], rng)


@pytest.mark.parametrize("cell", CELLS)
def test_how_the_vectors_start(cell):
    constant = keras.initializers.Constant
    default = built(cell)
    other = built(cell, alpha_initializer=constant(2.0), beta_initializer=constant(0.5))
    for made, alpha, beta in ((default, 1.0, 1.0), (other, 2.0, 0.5)):
        assert (as_numpy(made.alpha) == alpha).all()
        assert (as_numpy(made.beta_1) == beta).all()
        assert (as_numpy(made.beta_2) == beta).all()
        assert (as_numpy(made.bias) == 0.0).all()


def test_the_forget_gate_may_start_open():
    bias = as_numpy(built("mi_lstm", unit_forget_bias=True).bias)
    np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], UNITS))


def test_two_betas_of_one_initializer_are_not_related():
    cell = built("mi_rnn", beta_initializer="random_normal")
    assert not np.isclose(as_numpy(cell.beta_1), as_numpy(cell.beta_2)).any()
