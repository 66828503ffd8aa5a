"""`kcells.RNN` as users use it: in models, traced, masked, stateful, in all dtypes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops, tree

import kcells
from kcells._keras_private import get_mask

BATCH, TIME, FEATURES = 4, 6, 3


def numpy(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


@keras.saving.register_keras_serializable(package="kcells-tests")
class TwoWayCell(keras.layers.Layer):
    """Takes and gives a dict; its state is a dict too."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.state_size = {"sum": units, "last": (2, units)}

    def build(self, input_shape: dict[str, Any]) -> None:
        self.kernel = self.add_weight(shape=(input_shape["x"][-1], self.units), name="kernel")

    def call(self, inputs: Any, states: Any) -> Any:
        total = states["sum"] + ops.tanh(ops.matmul(inputs["x"], self.kernel)) + inputs["y"]
        last = ops.stack([total, states["last"][:, 0]], axis=1)
        return {"total": total, "pair": last}, {"sum": total, "last": last}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def two_way_inputs(rng: np.random.Generator, batch: int = BATCH, time: int = TIME) -> Any:
    return {
        "x": rng.normal(size=(batch, time, FEATURES)).astype("float32"),
        "y": rng.normal(size=(batch, time, 1)).astype("float32"),
    }


def two_way_model(batch_size: int | None = None, **options: Any) -> keras.Model:
    inputs = {
        "x": keras.Input((None, FEATURES), batch_size=batch_size, name="x"),
        "y": keras.Input((None, 1), batch_size=batch_size, name="y"),
    }
    outputs = kcells.RNN(TwoWayCell(5), **options)(inputs)
    return keras.Model(inputs, {"total": outputs["total"], "pair": outputs["pair"]})


# -- In models


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_evaluate_predict_and_train_on_batch(rng, backend, jit_compile):
    if backend == "torch" and jit_compile:
        pytest.skip("torch.compile of a training step needs a C++ tool chain and minutes")
    model = two_way_model()
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=jit_compile)
    data = two_way_inputs(rng)
    targets = {"total": np.ones((BATCH, 5)), "pair": np.zeros((BATCH, 2, 5))}
    history = model.fit(data, targets, epochs=12, batch_size=2, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    evaluated = model.evaluate(data, targets, verbose=0, return_dict=True)["loss"]
    assert np.isfinite(evaluated)
    assert np.isfinite(model.train_on_batch(data, targets)).all()
    predicted = model.predict(data, verbose=0)
    called = model(data)
    for key in ("total", "pair"):
        np.testing.assert_allclose(predicted[key], numpy(called[key]), rtol=1e-5, atol=1e-6)


def test_one_model_takes_every_batch_size_and_length(rng):
    model = two_way_model(return_sequences=True)
    for batch, time in ((1, 1), (3, 7), (2, 4)):
        data = two_way_inputs(rng, batch, time)
        predicted = model.predict(data, verbose=0)
        assert predicted["total"].shape == (batch, time, 5)
        assert predicted["pair"].shape == (batch, time, 2, 5)


def test_sequential_and_subclassed_models(rng):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    sequential = keras.Sequential(
        [kcells.build("gru", 4, return_sequences=True), kcells.build("lstm", 3)]
    )
    assert sequential(x).shape == (BATCH, 3)
    assert sequential.predict(x, verbose=0).shape == (BATCH, 3)

    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = kcells.RNN(TwoWayCell(5))

        def call(self, inputs: Any) -> Any:
            return self.recurrent(inputs)["total"]

    model = Subclassed()
    model.compile("sgd", "mse")
    model.fit(two_way_inputs(rng), np.ones((BATCH, 5)), verbose=0)
    assert len(model.trainable_variables) == 1


def test_a_traced_function_with_unknown_shapes(rng, backend):
    if backend != "tensorflow":
        pytest.skip("unknown shapes at run time are TensorFlow's")
    import tensorflow as tf

    layer = kcells.RNN(TwoWayCell(5), return_sequences=True, return_state=True)
    specs = {
        "x": tf.TensorSpec((None, None, FEATURES), tf.float32),
        "y": tf.TensorSpec((None, None, 1), tf.float32),
    }
    data = two_way_inputs(rng)
    eager = layer(data)
    for jit_compile in (False, True):
        traced = tf.function(layer, input_signature=[specs], jit_compile=jit_compile)
        for got, want in zip(tree.flatten(traced(data)), tree.flatten(eager), strict=True):
            np.testing.assert_allclose(numpy(got), numpy(want), rtol=1e-5, atol=1e-6)
    # A length of zero is only known when the loop runs.
    outputs, state = tf.function(layer, input_signature=[specs])(two_way_inputs(rng, time=0))
    assert outputs["pair"].shape == (BATCH, 0, 2, 5)
    assert not numpy(state["sum"]).any()


@pytest.mark.parametrize("return_sequences", [False, True])
def test_a_sequence_of_length_zero(rng, return_sequences):
    layer = kcells.RNN(TwoWayCell(5), return_sequences=return_sequences, return_state=True)
    start = {"sum": np.ones((BATCH, 5), "float32"), "last": np.ones((BATCH, 2, 5), "float32")}
    outputs, states = layer(two_way_inputs(rng, time=0), initial_state=start)
    lead = (BATCH, 0) if return_sequences else (BATCH,)
    assert tuple(outputs["total"].shape) == (*lead, 5)
    assert tuple(outputs["pair"].shape) == (*lead, 2, 5)
    assert not numpy(outputs["total"]).any()
    np.testing.assert_array_equal(numpy(states["sum"]), start["sum"])


# -- Masks


def test_an_attached_mask_is_used_even_with_an_initial_state(rng):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    x[:, 4:] = 0
    masked = keras.layers.Masking()(x)
    layer = kcells.build("gru", 3)
    start = rng.normal(size=(BATCH, 3)).astype("float32")
    want = layer(x[:, :4], initial_state=start)
    np.testing.assert_allclose(numpy(layer(masked, initial_state=start)), numpy(want), atol=1e-6)


def test_masks_inside_of_dict_inputs_reach_the_loop_and_the_loss(rng):
    tokens = keras.Input((TIME,), dtype="int32", name="tokens")
    other = keras.Input((TIME, 1), name="y")
    embedded = keras.layers.Embedding(7, FEATURES, mask_zero=True)(tokens)
    layer = kcells.RNN(TwoWayCell(5), return_sequences=True)
    outputs = layer({"x": embedded, "y": other})
    assert get_mask(outputs["total"]) is not None
    assert get_mask(outputs["pair"]) is not None
    model = keras.Model([tokens, other], outputs["total"])
    model.compile("sgd", "mse")
    ids = np.array([[1, 2, 3, 0, 0, 0]] * BATCH)
    zeros = np.zeros((BATCH, TIME, 1))
    predicted = model.predict([ids, zeros], verbose=0)
    np.testing.assert_array_equal(predicted[:, 3:], np.repeat(predicted[:, 2:3], 3, axis=1))
    targets = predicted.copy()
    targets[:, 3:] += 100
    assert model.evaluate([ids, zeros], targets, verbose=0) < 1e-9


def test_compute_mask_answers_in_the_structure_of_the_outputs(rng):
    data = two_way_inputs(rng)
    mask = ops.convert_to_tensor(rng.random((BATCH, TIME)) > 0.5)
    nothing = {"x": None, "y": None}
    layer = kcells.RNN(TwoWayCell(5), return_sequences=True, return_state=True)
    outputs, states = layer.compute_mask(data, {"x": mask, "y": None})
    assert set(outputs) == {"total", "pair"}
    np.testing.assert_array_equal(numpy(outputs["pair"]), numpy(mask))
    assert tree.flatten(states) == [None, None]
    assert tree.flatten(layer.compute_mask(data, nothing)) == [None] * 4
    last = kcells.RNN(TwoWayCell(5))
    assert last.compute_mask(data, {"x": mask, "y": mask}) == {"total": None, "pair": None}
    backwards = kcells.RNN(TwoWayCell(5), return_sequences=True, go_backwards=True)
    flipped = backwards.compute_mask(data, mask)["total"]
    np.testing.assert_array_equal(numpy(flipped), numpy(mask)[:, ::-1])


# -- States


def test_stateful_training_goes_on_where_the_last_batch_ended(rng):
    """Two batches of half the length are one of the whole, in predict and in fit."""
    data = two_way_inputs(rng)
    whole = two_way_model(batch_size=BATCH, return_sequences=True)
    halves = two_way_model(batch_size=BATCH, return_sequences=True, stateful=True)
    halves.set_weights(whole.get_weights())
    want = whole.predict(data, batch_size=BATCH, verbose=0)["total"]
    steps = {key: np.concatenate([value[:, :3], value[:, 3:]]) for key, value in data.items()}
    got = halves.predict(steps, batch_size=BATCH, verbose=0)["total"]
    got = np.concatenate([got[:BATCH], got[BATCH:]], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    layer = next(layer for layer in halves.layers if isinstance(layer, kcells.RNN))
    kept = numpy(layer.states["sum"])
    np.testing.assert_allclose(kept, want[:, -1], rtol=1e-5, atol=1e-6)
    layer.reset_state()
    assert not numpy(layer.states["sum"]).any()
    halves.compile("sgd", "mse")
    halves.fit(
        steps, {"total": np.ones((8, 3, 5)), "pair": np.ones((8, 3, 2, 5))}, batch_size=4, verbose=0
    )
    assert numpy(layer.states["sum"]).any()


def test_remembered_states_are_variables_and_no_weights(rng):
    layer = kcells.RNN(TwoWayCell(5), stateful=True)
    layer(two_way_inputs(rng))
    remembered = tree.flatten(layer.states)
    assert [tuple(v.shape) for v in remembered] == [(BATCH, 2, 5), (BATCH, 5)]
    assert all(any(v is w for w in layer.variables) for v in remembered)
    assert len(layer.weights) == 1
    assert len(layer.non_trainable_weights) == 0


def test_gradients_after_a_stateful_call(rng, gradients):
    """The memory is written while the gradient still needs what was read from it."""
    layer = kcells.build("gru", 3, stateful=True)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer(x)
    by_weight, _ = gradients(lambda t: ops.sum(layer(t[0])), layer.trainable_variables, [x])
    assert all(np.isfinite(g).all() and g.any() for g in by_weight)


class LearnedStart(keras.layers.GRUCell):
    """A trainable initial state."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.start = self.add_weight(shape=(self.units,), initializer="ones", name="start")

    def get_initial_state(self, batch_size: Any = None) -> Any:
        return [ops.broadcast_to(ops.convert_to_tensor(self.start), (batch_size, self.units))]


def test_the_cells_own_initial_state_comes_last_and_is_trained(rng, gradients):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer = kcells.RNN(LearnedStart(3))
    layer.build(x.shape)
    ones = np.ones((BATCH, 3), "float32")
    np.testing.assert_array_equal(numpy(layer(x)), numpy(layer(x, initial_state=ones)))
    assert not np.array_equal(numpy(layer(x)), numpy(layer(x, initial_state=0 * ones)))
    by_weight, _ = gradients(lambda t: ops.sum(layer(t[0])), [layer.cell.start], [x])
    assert by_weight[0].any()
    stateful = kcells.RNN(LearnedStart(3), stateful=True)
    stateful(x)
    stateful.reset_state()
    np.testing.assert_array_equal(numpy(stateful.states[0]), ones)


# -- Cells of all kinds


class PlainCell:
    """No layer at all; one state of one size, returned bare."""

    state_size = FEATURES

    def call(self, inputs: Any, states: Any) -> Any:
        return inputs + states[0], inputs + states[0]


def test_a_cell_that_is_no_layer(rng):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    got = kcells.RNN(PlainCell(), return_sequences=True)(x)
    np.testing.assert_allclose(numpy(got), np.cumsum(x, axis=1), atol=1e-5)


class AttentionCell(keras.layers.Layer):
    """Reads from a memory that is given as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.state_size = FEATURES

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any, states: Any, constants: Any = None, training: bool = False) -> Any:
        score = ops.softmax(ops.einsum("bf,bsf->bs", inputs + states[0], constants["keys"]))
        read = ops.einsum("bs,bsf->bf", score, constants["values"][0])
        return read, [read]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_constants_reach_every_step(rng, unroll, stacked):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    keys, values = rng.normal(size=(2, BATCH, 7, FEATURES)).astype("float32")
    cell = [keras.layers.GRUCell(FEATURES), AttentionCell()] if stacked else AttentionCell()
    layer = kcells.RNN(cell, unroll=unroll)
    constants = {"keys": keys, "values": [values]}
    got = layer(x, constants=constants)
    if stacked:
        x = numpy(kcells.RNN(cell[0], return_sequences=True)(x))
    state = np.zeros((BATCH, FEATURES))
    for t in range(TIME):
        score = np.exp(np.einsum("bf,bsf->bs", x[:, t] + state, keys))
        state = np.einsum("bs,bsf->bf", score / score.sum(-1, keepdims=True), values)
    np.testing.assert_allclose(numpy(got), state, rtol=1e-4, atol=1e-5)
    symbolic = layer(
        keras.Input((TIME, FEATURES)),
        constants={"keys": keras.Input((7, FEATURES)), "values": [keras.Input((7, FEATURES))]},
    )
    assert symbolic.shape == (None, FEATURES)


class CountingState(keras.layers.Layer):
    """An integer in the state, and a size that is known once it is built."""

    def __init__(self) -> None:
        super().__init__()
        self._features: int | None = None

    @property
    def state_size(self) -> Any:
        return None if self._features is None else {"steps": (), "sum": self._features}

    def build(self, input_shape: Any) -> None:
        self._features = input_shape[-1]

    def get_initial_state(self, batch_size: Any = None) -> Any:
        return {
            "steps": ops.zeros((batch_size,), dtype="int32"),
            "sum": ops.zeros((batch_size, self._features), dtype=self.compute_dtype),
        }

    def call(self, inputs: Any, states: Any) -> Any:
        new = {"steps": states["steps"] + 1, "sum": states["sum"] + inputs}
        return {"mean": new["sum"] / ops.cast(new["steps"], inputs.dtype)[:, None], **new}, new


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_integer_states_and_outputs_stay_integers(rng, policy):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    keras.config.set_dtype_policy(policy)
    layer = kcells.RNN(CountingState(), return_state=True, stateful=True)
    mask = np.ones((BATCH, TIME), bool)
    mask[0, 2:] = False
    outputs, states = layer(x, mask=ops.convert_to_tensor(mask))
    np.testing.assert_array_equal(numpy(outputs["steps"]), [2, 6, 6, 6])
    assert keras.backend.standardize_dtype(states["steps"].dtype) == "int32"
    assert keras.backend.standardize_dtype(layer.states["steps"].dtype) == "int32"
    assert keras.backend.standardize_dtype(states["sum"].dtype) == layer.compute_dtype


class NoisyCell(keras.layers.Layer):
    """Draws a number at every step, so that its seed has to move inside of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.state_size = FEATURES
        self.seed_generator = keras.random.SeedGenerator(3)

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any, states: Any) -> Any:
        noise = keras.random.normal(ops.shape(inputs), seed=self.seed_generator)
        return noise, [states[0] + noise]


@pytest.mark.parametrize("unroll", [False, True])
def test_a_cell_may_draw_random_numbers_at_every_step(rng, unroll):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer = kcells.RNN(NoisyCell(), return_sequences=True, unroll=unroll)
    first, second = numpy(layer(x)), numpy(layer(x))
    assert not np.allclose(first[:, 0], first[:, 1])
    assert not np.allclose(first, second)
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    assert not np.allclose(model.predict(x, verbose=0), model.predict(x, verbose=0))


class GrowingCell(keras.layers.Layer):
    """Its output has a size that only the inputs know."""

    state_size = 1

    def call(self, inputs: Any, states: Any) -> Any:
        return ops.mean(inputs, axis=-1) + states[0][:, :, None], [states[0] + 1.0]


def test_sizes_that_change_from_call_to_call(rng):
    layer = kcells.RNN(GrowingCell(), return_sequences=True)
    symbolic = layer(keras.Input((None, None, 5, 2)))
    assert symbolic.shape == (None, None, None, 5)
    for rows in (3, 4):
        x = rng.normal(size=(BATCH, TIME, rows, 5, 2)).astype("float32")
        want = x.mean(-1) + np.arange(TIME)[None, :, None, None]
        np.testing.assert_allclose(numpy(layer(x)), want, atol=1e-5)


class SublayerCell(keras.layers.Layer):
    """Has no build method: its layers are built by its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(FEATURES)
        self.state_size = FEATURES

    def call(self, inputs: Any, states: Any) -> Any:
        state = self.dense(inputs) + states[0]
        return state, [state]


def test_a_cell_made_of_layers(rng):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer = kcells.RNN(SublayerCell(), return_sequences=True)
    got = layer(x)
    assert len(layer.trainable_variables) == 2
    kernel = numpy(layer.cell.dense.kernel)
    np.testing.assert_allclose(numpy(got), np.cumsum(x @ kernel, axis=1), rtol=1e-4, atol=1e-5)


def test_keras_2_style_get_initial_state(rng):
    class OldCell(keras.layers.SimpleRNNCell):
        def get_initial_state(self, inputs: Any = None, batch_size: Any = None, dtype: Any = None):
            return ops.ones((batch_size, self.units), dtype=dtype)

    layer = kcells.RNN(OldCell(3))
    np.testing.assert_array_equal(numpy(layer.get_initial_state(2)[0]), np.ones((2, 3)))


# -- Dtypes and dropout


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16", "mixed_float16"])
def test_every_float_has_the_compute_dtype(rng, policy):
    keras.config.set_dtype_policy(policy)
    layer = kcells.RNN(TwoWayCell(5), return_sequences=True, return_state=True, stateful=True)
    result = layer(two_way_inputs(rng))
    for leaf in tree.flatten(result):
        assert keras.backend.standardize_dtype(leaf.dtype) == layer.compute_dtype
    specs = layer({"x": keras.KerasTensor((4, 6, 3)), "y": keras.KerasTensor((4, 6, 1))})
    assert {leaf.dtype for leaf in tree.flatten(specs)} == {layer.compute_dtype}
    assert {v.dtype for v in tree.flatten(layer.states)} == {layer.variable_dtype}
    layer(two_way_inputs(rng))


def test_mixed_precision_trains(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = two_way_model(batch_size=BATCH, stateful=True)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    targets = {"total": np.ones((BATCH, 5)), "pair": np.ones((BATCH, 2, 5))}
    inputs = two_way_inputs(rng)
    (kernel,) = model.trainable_variables
    before = numpy(kernel)
    losses = []
    for _ in range(8):  # Each from the states that the last one left would be another problem.
        model.layers[-1].reset_states()
        history = model.fit(inputs, targets, batch_size=BATCH, shuffle=False, verbose=0).history
        losses += history["loss"]
    assert np.all(np.isfinite(losses))
    assert losses[-1] < 0.9 * losses[0]
    # Weights are kept, and moved, in single precision; what is computed is in half.
    assert kernel.dtype == "float32"
    moved = numpy(kernel) - before
    assert np.all(moved != 0)
    assert np.any(numpy(ops.cast(ops.cast(kernel, "bfloat16"), "float32")) != numpy(kernel))
    outputs = keras.tree.flatten(model(inputs))
    assert {keras.backend.standardize_dtype(y.dtype) for y in outputs} == {"bfloat16"}


@pytest.mark.parametrize("unroll", [False, True])
def test_dropout_of_keras_cells_in_a_stack_is_the_same_at_every_step(unroll):
    cells = [
        keras.layers.SimpleRNNCell(
            8,
            activation=None,
            kernel_initializer="identity",
            recurrent_initializer="zeros",
            dropout=0.5,
            seed=seed,
        )
        for seed in (1, 2)
    ]
    layer = kcells.RNN(cells, return_sequences=True, unroll=unroll)
    ones = np.ones((BATCH, TIME, 8), "float32")
    output = numpy(layer(ones, training=True))
    assert set(np.unique(output)) <= {0.0, 2.0, 4.0}
    assert {0.0, 4.0} <= set(np.unique(output))
    np.testing.assert_array_equal(output, np.repeat(output[:, :1], TIME, axis=1))
    np.testing.assert_array_equal(numpy(layer(ones)), ones)
    assert not np.array_equal(numpy(layer(ones, training=True)), output)


# -- Bidirectional and stacks, beyond one tensor


def test_bidirectional_in_every_form(rng):
    data = two_way_inputs(rng)
    mask = ops.convert_to_tensor(np.arange(TIME)[None] < np.array([[6], [3], [1], [0]]))
    options = {"return_sequences": True, "return_state": True, "stateful": True}
    layer = kcells.Bidirectional(
        kcells.RNN(TwoWayCell(5), **options), merge_mode={"total": "concat", "pair": None}
    )
    outputs, forward, backward = layer(data, mask=mask)
    a, b = layer.forward_layer, layer.backward_layer
    a.reset_state()
    b.reset_state()
    want_a, state_a = a(data, mask=mask)
    want_b, state_b = b(data, mask=mask)
    back = {key: numpy(value)[:, ::-1] for key, value in want_b.items()}
    both = np.concatenate([numpy(want_a["total"]), back["total"]], axis=-1)
    np.testing.assert_allclose(numpy(outputs["total"]), both, atol=1e-6)
    np.testing.assert_allclose(numpy(outputs["pair"][1]), back["pair"], atol=1e-6)
    for got, want in ((forward, state_a), (backward, state_b)):
        np.testing.assert_allclose(numpy(got["sum"]), numpy(want["sum"]), atol=1e-6)
    layer.reset_state([forward, backward])
    assert len(layer.states) == 2
    np.testing.assert_allclose(numpy(layer.states[1]["sum"]), numpy(backward["sum"]))
    layer.reset_state()
    assert not numpy(layer.states[0]["sum"]).any()
    again, *_ = layer(data, mask=mask, initial_state=layer.states)
    np.testing.assert_allclose(numpy(again["total"]), numpy(outputs["total"]), atol=1e-6)
    symbolic, *_ = layer(tree.map_structure(lambda x: keras.Input(batch_shape=x.shape), data))
    assert symbolic["total"].shape == (BATCH, TIME, 10)
    assert symbolic["pair"][0].shape == (BATCH, TIME, 2, 5)


def test_a_stack_of_structures_is_stateful_and_reset(rng):
    class Splitter(keras.layers.Layer):
        state_size = ()

        def call(self, inputs: Any, states: Any) -> Any:
            return {"x": inputs, "y": inputs[:, :1]}, []

    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer = kcells.RNN([keras.layers.LSTMCell(3), Splitter(), TwoWayCell(5)], stateful=True)
    first = layer(x)
    assert keras.tree.map_structure(lambda v: tuple(v.shape), layer.states) == [
        [(BATCH, 3), (BATCH, 3)],
        [],
        {"sum": (BATCH, 5), "last": (BATCH, 2, 5)},
    ]
    assert not np.allclose(numpy(layer(x)["total"]), numpy(first["total"]))
    layer.reset_state()
    np.testing.assert_allclose(numpy(layer(x)["total"]), numpy(first["total"]), atol=1e-6)
