"""Traps of the backends and of Keras, each of which once gave a wrong result or a crash."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops, tree

import kcells
from kcells.errors import StructureError


def numpy(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_frozen_weights_are_not_rounded(policy):
    """On JAX the variables that a step may update travel in the carry."""
    layer = kcells.build("gru", 4, dtype=policy)
    layer(random(2, 5, 3))
    before = layer.get_weights()
    layer.trainable = False
    layer(random(2, 5, 3))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@keras.saving.register_keras_serializable(package="kcells-tests")
class Reader(keras.layers.Layer):
    """Takes the mean of a memory of any length."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = 3

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(4, 3))

    def call(self, inputs: Any, states: Any, constants: Any) -> Any:
        state = states[0] + inputs + ops.matmul(ops.mean(constants, axis=1), self.kernel)
        return state, [state]


def test_constants_of_many_lengths_in_one_model():
    """On JAX a trace inside of a compiled step must see the values of the outer scope."""
    x, memory = keras.Input((None, 3)), keras.Input((None, 4))
    model = keras.Model([x, memory], kcells.RNN(Reader())(x, constants=memory))
    model.compile("sgd", "mse")
    for length in (7, 8):
        data = [random(2, 5, 3), random(2, length, 4)]
        model.fit(data, np.zeros((2, 3)), verbose=0)
        kernel = numpy(model.trainable_variables[0])
        want = data[0].sum(1) + 5 * data[1].mean(1) @ kernel
        np.testing.assert_allclose(model.predict(data, verbose=0), want, rtol=1e-4, atol=1e-5)


def test_inside_of_time_distributed():
    x = keras.Input((4, 5, 3))
    layer = kcells.build("gru", 2)
    model = keras.Model(x, keras.layers.TimeDistributed(layer)(x))
    data = random(2, 4, 5, 3)
    want = np.stack([numpy(layer(data[:, k])) for k in range(4)], axis=1)
    np.testing.assert_allclose(model.predict(data, verbose=0), want, atol=1e-5)


class Pair(keras.layers.Layer):
    state_size = 1

    def call(self, inputs: Any, states: Any) -> Any:
        return inputs["a"] + inputs["b"], states


def test_lengths_that_only_the_run_knows(backend):
    """TensorFlow forgets the lengths of a model that has seen several."""
    inputs = {"a": keras.Input((None, 1), name="a"), "b": keras.Input((None, 1), name="b")}
    model = keras.Model(inputs, kcells.RNN(Pair(), return_sequences=True)(inputs))
    for length in (3, 4, 5, 6):
        model.predict_on_batch({"a": random(2, length, 1), "b": random(2, length, 1)})
    with pytest.raises(Exception, match="disagree on time") as caught:
        model.predict_on_batch({"a": random(2, 6, 1), "b": random(2, 8, 1)})
    assert backend == "tensorflow" or isinstance(caught.value, StructureError)


@pytest.mark.parametrize("name", ["lstm", "ln_gru", "min_gru"])
def test_the_batch_size_that_only_the_run_knows(backend, name):
    """No computation may come first and fail with words of its own."""
    if backend != "tensorflow":
        pytest.skip("every size is known when a call is made")
    import tensorflow as tf

    layer = kcells.build(name, 4)
    layer.build((None, None, 3))
    state = tree.map_structure(lambda _: tf.TensorSpec((None, 4)), layer.cell.state_size)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3)), state])
    def call(x, state):
        return layer(x, initial_state=state)

    for batch in (1, 2, 3, 6) * 3:
        wrong = tree.map_structure(lambda _, batch=batch: tf.ones((batch, 4)), state)
        with pytest.raises(tf.errors.InvalidArgumentError, match="disagree on batch"):
            call(tf.ones((5, 7, 3)), wrong)


def test_a_smaller_last_batch_of_a_stateful_model(backend):
    x = keras.Input(batch_shape=(4, 5, 3))
    model = keras.Model(x, kcells.build("gru", 3, stateful=True)(x))
    with pytest.raises(Exception, match=r"disagree on batch|batch size|batch_shape|incompatible"):
        model.predict(random(5, 5, 3), batch_size=4, verbose=0)


def test_keys_are_matched_by_name_at_every_depth():
    """On PyTorch `keras.tree` sorts the keys of the outermost dict only."""
    cells = {"q": {"z": keras.layers.GRUCell(4), "a": keras.layers.GRUCell(4)}}
    layer = kcells.build("parallel", cells)
    inputs = {"q": {"a": random(2, 5, 3), "z": 2 * random(2, 5, 3)}}
    outputs = layer(inputs)
    for key in "az":
        alone = kcells.RNN(cells["q"][key])(inputs["q"][key])
        np.testing.assert_allclose(numpy(outputs["q"][key]), numpy(alone), atol=1e-6)
    assert layer.weights[0] is cells["q"]["a"].weights[0]


class Shifted(kcells.StackedCells):
    def call(self, inputs: Any, states: Any, **kwargs: Any) -> Any:
        outputs, states = super().call(inputs, states, **kwargs)
        return outputs * 0 + 7.0, states


def test_a_stack_that_overrides_call_is_obeyed():
    for cell in ("mlstm", "gru"):
        layer = kcells.RNN(Shifted([kcells.cell(cell, 3)]))
        np.testing.assert_array_equal(numpy(layer(random(2, 5, 3))), np.full((2, 3), 7.0))


def test_bidirectional_with_constants_and_a_mask():
    x, memory = random(2, 5, 3), random(2, 6, 4)
    mask = ops.convert_to_tensor(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool))
    for cell in (Reader(), [kcells.cell("gru", 3), Reader()]):
        layer = kcells.Bidirectional(kcells.RNN(cell, return_sequences=True))
        result = numpy(layer(x, mask=mask, constants=memory))
        forward = layer.forward_layer(x, mask=mask, constants=memory)
        backward = layer.backward_layer(x, mask=mask, constants=memory)
        want = np.concatenate([numpy(forward), numpy(backward)[:, ::-1]], axis=-1)
        np.testing.assert_allclose(result, want, atol=1e-6)


@pytest.mark.parametrize("inputs", [random(4, 5), {"a": random(2, 5, 3)}])
def test_keras_cells_say_what_they_take(inputs):
    with pytest.raises(StructureError, match="takes one tensor of"):
        kcells.build("gru", 3)(inputs)


class LearnedRow(keras.layers.GRUCell):
    def get_initial_state(self, batch_size: Any = None) -> Any:
        return [ops.ones((1, self.units))]


def test_an_initial_state_of_one_row_stands_for_all():
    layer = kcells.RNN(LearnedRow(3))
    x = random(2, 5, 3)
    want = layer(x, initial_state=np.ones((2, 3), "float32"))
    np.testing.assert_allclose(numpy(layer(x)), numpy(want), atol=1e-6)


def test_one_mask_or_none_for_a_whole_container():
    cells = {"pen": [kcells.cell("gru", 2), kcells.cell("gru", 2)], "img": kcells.cell("gru", 2)}
    layer = kcells.build("parallel", cells)
    x = random(2, 5, 3)
    inputs = {"pen": [x, x], "img": x}
    mask = ops.convert_to_tensor(np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], bool))
    want = tree.flatten(layer(inputs, mask=mask))
    for given in ({"pen": None, "img": mask}, {"pen": mask, "img": None}):
        for got, leaf in zip(tree.flatten(layer(inputs, mask=given)), want, strict=True):
            np.testing.assert_array_equal(numpy(got), numpy(leaf))


def test_an_initial_state_of_ints_is_one_of_floats():
    layer = kcells.build("gru", 4)
    x, ones = random(2, 3, 5), np.ones((2, 4))
    want = layer(x, initial_state=ones.astype("float32"))
    np.testing.assert_array_equal(numpy(layer(x, initial_state=ones.astype("int32"))), numpy(want))


def test_a_stack_of_keras_runs_as_ours():
    cells = [keras.layers.LSTMCell(3), keras.layers.GRUCell(2)]
    x = random(2, 5, 4)
    theirs = kcells.RNN(keras.layers.StackedRNNCells(cells))(x)
    np.testing.assert_array_equal(numpy(theirs), numpy(kcells.RNN(cells)(x)))


@pytest.mark.parametrize("mode", ["concat", None])
def test_bidirectional_casts_to_its_own_dtype(mode):
    layer = kcells.Bidirectional(kcells.build("gru", 2), mode, dtype="mixed_bfloat16")
    for result in (layer(random(2, 5, 4)), layer(keras.Input((5, 4)))):
        for leaf in tree.flatten(result):
            assert keras.backend.standardize_dtype(leaf.dtype) == "bfloat16"
