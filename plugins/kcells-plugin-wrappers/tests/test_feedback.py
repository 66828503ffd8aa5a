"""Feeding outputs back: against NumPy, teacher forcing, what is fed, files, errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from attention_reference import attention, luong
from keras import ops, tree
from wrappers_reference import gru, lstm, run

import kcells
from kcells.errors import ConfigurationError, StructureError

BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 4
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


@keras.saving.register_keras_serializable(package="kcells-tests")
def twice(outputs):
    return 2.0 * outputs


@keras.saving.register_keras_serializable(package="kcells-tests")
def only_low(outputs):
    return {"low": outputs}


@keras.saving.register_keras_serializable(package="kcells-tests")
def best(outputs):
    return ops.argmax(outputs, axis=-1)


class EchoCell(keras.layers.Layer):
    """The output is the input, and one more."""

    state_size = (1,)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, states):
        return inputs + 1.0, states


@keras.saving.register_keras_serializable(package="kcells-tests")
class BothCell(keras.layers.Layer):
    """Adds up what it sees of `low` and `high`."""

    state_size = (2,)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, states):
        h = 0.5 * states[0] + inputs["low"] + 10.0 * inputs["high"]
        return h, [h]


# -- Against NumPy


def feedback(step, feed, own):
    """A step of the wrapper: states of the cell, then what is fed."""

    def wrapped(w, xs, states):
        *cell, fed = states
        ys, cell = step(w, [fed] if own else xs, cell)
        return ys, [*cell, feed(w, ys[0])]

    return wrapped


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("own", "cell", "step", "layer", "feed"),
    [
        (True, keras.layers.LSTMCell, lstm, None, lambda w, y: y),
        (True, keras.layers.GRUCell, gru, twice, lambda w, y: 2 * y),
        (
            True,
            keras.layers.LSTMCell,
            lstm,
            "dense",
            lambda w, y: np.tanh(y @ w["feed_kernel"] + w["feed_bias"]),
        ),
        (False, keras.layers.GRUCell, gru, None, lambda w, y: y),
    ],
)
def test_outputs_states_and_gradients(own, cell, step, layer, feed, rng, compare):
    features = UNITS if layer != "dense" else FEATURES
    if layer == "dense":
        layer = NamedDense(features, activation="tanh", dtype="float64")
    inside = cell(UNITS, dtype="float64")
    whole = kcells.build(
        kcells.cell("feedback", inside, feed=layer, own_at_inference=own, dtype="float64"),
        dtype="float64", return_sequences=True, return_state=True,
    )  # fmt: skip
    x = rng.normal(size=(BATCH, TIME, features))
    whole(x)
    for weight in whole.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))

    def reference(weights, x, *states):
        return run(feedback(step, feed, own), weights, [x], states, MASK)

    compare(whole, x, reference, mask=MASK)


class NamedDense(keras.layers.Layer):
    """Dense, whose weights have names of their own."""

    def __init__(self, units, activation, **kwargs):
        super().__init__(**kwargs)
        self.units, self.activation = units, keras.activations.get(activation)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="feed_kernel")
        self.bias = self.add_weight(shape=(self.units,), name="feed_bias")

    def call(self, x):
        return self.activation(ops.matmul(x, self.kernel) + self.bias)


# -- Teacher forcing


def test_without_sampling_training_is_the_bare_cell(rng):
    x = rng.normal(size=(BATCH, TIME, UNITS)).astype("float32")
    layer = kcells.build("feedback", "lstm", UNITS, return_sequences=True)
    bare = kcells.RNN(layer.cell.cell, return_sequences=True)
    np.testing.assert_allclose(numbers(layer(x, training=True)), numbers(bare(x)), atol=1e-6)
    own = kcells.RNN(kcells.cell("feedback", layer.cell.cell, sampling=1.0), return_sequences=True)
    np.testing.assert_allclose(numbers(own(x, training=True)), numbers(layer(x)), atol=1e-6)
    true = kcells.RNN(
        kcells.cell("feedback", layer.cell.cell, own_at_inference=False), return_sequences=True
    )
    np.testing.assert_allclose(numbers(true(x)), numbers(bare(x)), atol=1e-6)


def test_inference_looks_at_no_input():
    layer = kcells.build("feedback", EchoCell(), start=3.0, return_sequences=True)
    x = np.full((2, 4, 1), np.nan, "float32")
    np.testing.assert_array_equal(numbers(layer(x))[..., 0], [[4, 5, 6, 7]] * 2)


@pytest.mark.parametrize("rate", [0.25, "variable"])
def test_sampling_draws_rows_and_steps(rate):
    rows = 400
    if rate == "variable":
        rate = keras.Variable(0.0, trainable=False)
    layer = kcells.build(
        kcells.cell("feedback", EchoCell(), start=-100.0, sampling=rate, seed=1),
        return_sequences=True,
    )
    x = np.zeros((rows, 6, 2), "float32")

    def own():
        y = numbers(layer(x, training=True))
        assert (y[..., 0] == y[..., 1]).all()
        return y[..., 0] != 1.0

    if isinstance(rate, keras.Variable):
        assert not own().any()
        rate.assign(1.0)
        assert own().all()
        rate.assign(0.25)
    drawn = own()
    assert 0.2 < drawn.mean() < 0.3
    assert 0 < drawn.mean(axis=0).min() < drawn.mean(axis=0).max() < 0.4
    together = (drawn[:, 1:] & drawn[:, :-1]).mean()
    assert 0.03 < together < 0.1, "steps are drawn one by one"
    assert (drawn != own()).any()


def test_a_callback_changes_the_rate():
    rate = keras.Variable(0.0, trainable=False)
    layer = kcells.build("feedback", EchoCell(), sampling=rate, return_sequences=True)
    model = keras.Sequential([keras.Input((5, 1)), layer, keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.ones((1, 1)), np.zeros(1)])
    model.compile(keras.optimizers.SGD(0.0), "mae")
    x = np.zeros((8, 5, 1), "float32")

    class Schedule(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rate.assign(float(epoch))

    losses = model.fit(x, x, epochs=2, verbose=0, callbacks=[Schedule()]).history["loss"]
    np.testing.assert_allclose(losses, [1.0, 3.0])  # all ones; 1, 2, 3, 4, 5


# -- What is fed


def test_some_entries_of_a_dict(rng):
    layer = kcells.build(
        kcells.cell("feedback", BothCell(), feed=only_low, start={"low": 1.0}),
        return_sequences=True, return_state=True,
    )  # fmt: skip
    x = {key: rng.normal(size=(BATCH, TIME, 2)).astype("float32") for key in ("low", "high")}
    y, states = layer(x)
    assert set(states) == {"cell", "fed"}
    h, low = np.zeros((BATCH, 2)), np.ones((BATCH, 2))
    for t in range(TIME):
        low = h = 0.5 * h + low + 10.0 * x["high"][:, t]
        np.testing.assert_allclose(numbers(y)[:, t], h, rtol=1e-5, atol=1e-4)


def test_tokens():
    cell = kcells.cell("embedding", "gru", UNITS, classes=7, size=3)
    cell = kcells.cell("feedback", kcells.cell("output_projection", cell, size=7), feed=best,
                       start=0)  # fmt: skip
    layer = kcells.RNN(cell, return_sequences=True, return_state=True)
    ids = np.zeros((BATCH, TIME), "int32")
    scores, states = layer(ids)
    assert keras.backend.standardize_dtype(states["fed"].dtype) == "int32"
    bare = kcells.RNN(cell.cell, return_sequences=True)
    chosen = numbers(scores).argmax(-1)
    shifted = np.concatenate([ids[:, :1], chosen[:, :-1]], axis=1)
    np.testing.assert_allclose(numbers(bare(shifted)), numbers(scores), atol=1e-5)


def test_around_attention(rng):
    x = rng.normal(size=(BATCH, TIME, 5)).astype("float32")
    memory = rng.normal(size=(BATCH, 6, 5)).astype("float32")
    cell = kcells.cell("feedback", kcells.cell("attention", "gru", UNITS, score="luong"))
    layer = kcells.RNN(cell, return_sequences=True)
    y = numbers(layer(x, constants=memory))
    weights = {w.name: numbers(w).astype("float64") for w in layer.weights}
    step = attention(gru, [(luong, False)])
    for b in range(BATCH):
        fed, states = np.zeros(5), [np.zeros(5), np.zeros(UNITS)]
        for t in range(TIME):
            (fed,), states = step(weights, fed, [memory[b]], [np.ones(6, bool)], states)
            np.testing.assert_allclose(y[b, t], fed, rtol=1e-4, atol=1e-5)


def test_it_starts_anew(rng):
    layer = kcells.build("feedback", EchoCell(), start=3.0, return_sequences=True)
    reset = np.array([[False, False, True, False]])
    found = numbers(layer(np.zeros((1, 4, 1), "float32"), reset=reset))
    np.testing.assert_array_equal(found[0, :, 0], [4, 5, 4, 5])


# -- Files


@pytest.mark.parametrize("feed", ["layer", "function"])
def test_it_is_saved(feed, tmp_path, rng):
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    units, made = (UNITS, keras.layers.Dense(FEATURES)) if feed == "layer" else (FEATURES, twice)
    rate = keras.Variable(0.5, trainable=False)
    layer = kcells.build("feedback", "lstm", units, feed=made, sampling=rate, start=0.5)
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    rate.assign(0.75)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert float(numbers(again.layers[0].cell.sampling)) == 0.75


# -- Errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"feed": 3}, "feed must be a layer or a function of the outputs; received 3"),
        ({"start": "zeros"}, "start must be a number, or a structure of numbers like"),
        ({"sampling": 1.5}, "sampling must be a number from 0 to 1, or a scalar keras.Variable"),
        ({"sampling": "often"}, "sampling must be a number from 0 to 1.*received 'often'"),
        ({"sampling": keras.Variable([0.1, 0.2], trainable=False)}, "sampling must be a number"),
        ({"sampling": keras.Variable(0.1)}, r"a scalar keras.Variable\(0.0, trainable=False\)"),
    ],
)
def test_what_cannot_be_made(options, text):
    with pytest.raises(ConfigurationError, match=text):
        kcells.cell("feedback", "lstm", UNITS, **options)


def test_what_does_not_fit_the_inputs():
    x = np.zeros((BATCH, TIME, FEATURES), "float32")
    with pytest.raises(
        StructureError, match=r"must be like the inputs of a step(.|\n)*layers\.Den"
    ):
        kcells.build("feedback", "lstm", UNITS)(x)
    with pytest.raises(StructureError, match="must be like the inputs of a step"):
        kcells.build("feedback", BothCell(), feed=lambda y: {"deep": y})(
            {"low": x[..., :2], "high": x[..., :2]}
        )
    with pytest.raises(ConfigurationError, match="what is fed is float32, and start is 1"):
        kcells.build("feedback", "lstm", FEATURES, start=1)(x)
    with pytest.raises(StructureError, match="start has another structure"):
        kcells.build("feedback", "lstm", FEATURES, start={"a": 1.0})(x)


def test_state_size_is_not_set():
    with pytest.raises(AttributeError, match="follows from its cell and its feed"):
        kcells.cell("feedback", "lstm", UNITS).state_size = 3


def test_leaves_are_in_order(rng):
    """What is fed has the structure of the inputs, whatever that is."""

    class PairCell(keras.layers.Layer):
        state_size = (1,)

        def build(self, input_shape):
            self.built = True

        def call(self, inputs, states):
            return [inputs[0] * 2.0, inputs[1] + 1.0], states

    layer = kcells.build("feedback", PairCell(), start=1.0, return_sequences=True)
    x = [np.zeros((1, 3, 2), "float32"), np.zeros((1, 3, 1, 2), "float32")]
    first, second = tree.map_structure(numbers, layer(x))
    np.testing.assert_array_equal(first[0, :, 0], [2, 4, 8])
    np.testing.assert_array_equal(second[0, :, 0, 0], [2, 3, 4])
