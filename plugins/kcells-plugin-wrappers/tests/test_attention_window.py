"""Looking back at the last outputs: what the NumPy program does not know of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from attention_reference import attention, luong
from keras import ops
from wrappers_reference import attention_window, gru

import kcells
from kcells.errors import ConfigurationError, StructureError

BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 4


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def made(*args, **options):
    options = {"length": 3, "return_sequences": True, **options}
    return kcells.build("attention_window", *(args or ("lstm", UNITS)), **options)


@pytest.fixture
def x(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def test_weights_and_states_start_as_they_are_told_to():
    layer = made(score_size=50, kernel_regularizer="l2", bias_constraint="non_neg")
    layer.build((None, None, FEATURES))
    inside = {id(w) for w in layer.cell.cell.weights}
    weights = {w.name: w for w in layer.cell.weights if id(w) not in inside}
    assert sorted(weights) == [
        *("input_bias", "input_kernel", "output_bias", "output_kernel"),
        *("query_bias", "query_kernel", "score_kernel", "window_kernel"),
    ]
    for name, weight in weights.items():
        is_bias = name.endswith("bias")
        assert is_bias == (not numbers(weight).any())
        assert is_bias == (weight.constraint is not None) == (weight.regularizer is None)
    # Glorot and Bengio for 50 inputs and 50 outputs, as tf.contrib.rnn has it for a vector.
    largest = np.abs(numbers(weights["score_kernel"])).max()
    assert 0.8 * np.sqrt(6 / 100) < largest < np.sqrt(6 / 100)
    states = layer.cell.get_initial_state(2)
    assert not any(numbers(leaf).any() for leaf in keras.tree.flatten(states))


@pytest.mark.filterwarnings("ignore:You are using a softmax:UserWarning")
def test_one_output_is_looked_back_at_as_it_is(x):
    y, states = made(length=1, return_state=True)(x)
    np.testing.assert_allclose(numbers(states["attention"]), numbers(y)[:, -2], atol=1e-6)
    np.testing.assert_array_equal(numbers(states["window"])[:, 0], numbers(y)[:, -1])


def test_the_cell_gets_its_constants(x, rng):
    memory = rng.normal(size=(BATCH, 6, 5)).astype("float32")
    layer = made(kcells.cell("attention", "gru", UNITS, score="luong"))
    y = numbers(layer(x, constants=memory))
    weights = {w.name: numbers(w).astype("float64") for w in layer.weights}
    inside = attention(gru, [(luong, False)])
    for b in range(BATCH):

        def of_row(w, xs, states, b=b):
            return inside(w, xs[0], [memory[b]], [np.ones(6, bool)], states)

        step = attention_window(of_row)
        states = [np.zeros(5), np.zeros(5), np.zeros(UNITS), np.zeros((3, 5))]
        for t in range(TIME):
            (expected,), states = step(weights, [x[b, t]], states)
            np.testing.assert_allclose(y[b, t], expected, rtol=1e-4, atol=1e-5)


def test_the_cell_drops_in_training_and_draws_anew(x):
    layer = made("lstm", 16, dropout=0.5)
    still, first, second = (numbers(layer(x, training=flag)) for flag in (False, True, True))
    np.testing.assert_array_equal(still, numbers(layer(x)))
    assert np.abs(first - still).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"length": 0}, "AttentionWindowCell: length must be a positive int; received 0"),
        ({"attention_size": 2.5}, "attention_size must be a positive int"),
        ({"score_size": -1}, "score_size must be a positive int"),
        ({"input_size": "all"}, "input_size must be a positive int"),
    ],
)
def test_what_cannot_be_made(options, text):
    with pytest.raises(ConfigurationError, match=text):
        made(**options)


def test_inputs_and_outputs_that_are_no_vectors():
    both = kcells.cell("parallel", {"a": keras.layers.GRUCell(2), "b": keras.layers.GRUCell(3)})
    with pytest.raises(
        StructureError, match=r"WindowCell: the inputs must be one vector.* \(2,\), \(3,\)\.\n"
    ):
        made(both).build({"a": (2, TIME, 2), "b": (2, TIME, 3)})
    with pytest.raises(StructureError, match=r"the inputs must be one vector.* are \(3, 2\)\.\n"):
        made().build((2, TIME, 3, 2))
    with pytest.raises(StructureError, match="the output of PairCell must be one vector a step"):
        made(PairCell()).build((2, TIME, FEATURES))


class PairCell(kcells.Cell):
    """Two outputs."""

    state_size = (FEATURES,)

    def call(self, inputs, states):
        return (inputs, states[0]), [inputs]


def test_state_size_is_not_set():
    with pytest.raises(AttributeError, match="follows from its cell and sizes"):
        kcells.cell("attention_window", "lstm", UNITS, length=2).state_size = 3
