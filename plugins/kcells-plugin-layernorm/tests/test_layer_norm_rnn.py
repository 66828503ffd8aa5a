"""The layer-normalized RNN against its NumPy reference, and each of its arguments."""

import functools

import keras
import numpy as np
import pytest
from ln_helpers import FEATURES, MASK, UNITS, as_numpy, make_layer, make_sequences
from ln_rnn_reference import run

import kcells
from kcells.errors import ConfigurationError
from kcells_plugin_layernorm import LayerNormRNNCell

WEIGHTS = {
    "kernel": {"kernel"},
    "recurrent": {"recurrent_kernel"},
    "bias": {"bias"},
    "gamma": {"gamma"},
}


def built(**arguments):
    cell = LayerNormRNNCell(UNITS, **arguments)
    cell.build((None, FEATURES))
    return cell


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", [{}, {"use_bias": False, "epsilon": 0.3}], ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, LayerNormRNNCell, **options)
    reference = functools.partial(run, mask=MASK, epsilon=layer.cell.epsilon)
    compare(layer, make_sequences(rng), reference, MASK)


@pytest.mark.usefixtures("float64")
def test_a_scale_of_all_matrices_does_not_count(rng):
    """Section 5.1 of the paper: both together may grow, and one of them may not."""
    layer = make_layer(rng, LayerNormRNNCell, epsilon=1e-14)
    sequences = make_sequences(rng)
    before = as_numpy(layer(sequences)[0])
    layer.cell.kernel.assign(5.0 * as_numpy(layer.cell.kernel))
    assert np.abs(as_numpy(layer(sequences)[0]) - before).max() > 1e-2
    layer.cell.recurrent_kernel.assign(5.0 * as_numpy(layer.cell.recurrent_kernel))
    np.testing.assert_allclose(as_numpy(layer(sequences)[0]), before, rtol=0, atol=1e-9)


def test_where_the_norm_changes_nothing_it_is_a_simple_rnn(rng):
    """With units +1 and -1 alone, mean 0 and variance 1 are there already."""
    signs = np.array([1.0, -1.0])
    cell = LayerNormRNNCell(2, activation="linear", epsilon=1e-9)
    layer = kcells.RNN(cell, return_sequences=True)
    plain = keras.layers.SimpleRNN(2, activation="linear", return_sequences=True)
    sequences = np.sign(rng.normal(size=(3, 5, 1))).astype("float32")
    weights = [signs[None], np.zeros((2, 2)), np.ones(2), np.array([0.5, -2.0])]
    layer.build(sequences.shape)
    plain.build(sequences.shape)
    layer.set_weights(weights)
    plain.set_weights([weights[0], weights[1], weights[3]])
    np.testing.assert_allclose(as_numpy(layer(sequences)), as_numpy(plain(sequences)), atol=1e-5)


def test_the_norm_starts_as_in_the_paper():
    cell = built()
    np.testing.assert_array_equal(as_numpy(cell.gamma), np.ones(UNITS))
    np.testing.assert_array_equal(as_numpy(cell.bias), np.zeros(UNITS))


@pytest.mark.parametrize("epsilon", [0.0, -1e-3, float("nan"), "small", None])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ConfigurationError, match="RNNCell: epsilon must be a positive float; rece"):
        LayerNormRNNCell(UNITS, epsilon=epsilon)
