"""What `build` hands out, and what becomes of the policy."""

import keras
import numpy as np
import pytest
from equivalents import BasicLSTMCell, CoupledLSTMCell, PeepholeLSTMCell
from keras import layers

import kcells
from kcells.errors import CellError, DispatchError, KCellsError

BUILTINS = {"lstm": layers.LSTM, "gru": layers.GRU}


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_layer_of_keras(name):
    layer = kcells.build(name, 4, return_sequences=True, dropout=0.1, name="reader")
    assert isinstance(layer, BUILTINS[name])
    assert isinstance(layer, kcells.RNN)
    assert (layer.units, layer.dropout, layer.name) == (4, 0.1, "reader")
    stock = BUILTINS[name](4, return_sequences=True, dropout=0.1, name="reader")
    assert set(stock.get_config()) == set(layer.get_config())


@pytest.mark.parametrize("name", ["kcells:gru", layers.GRUCell, layers.GRUCell(4), "gru"])
def test_every_way_to_say_it(name):
    arguments = () if isinstance(name, layers.Layer) else (4,)
    assert isinstance(kcells.build(name, *arguments), layers.GRU)


def test_a_cell_that_is_given_is_used():
    cell = layers.LSTMCell(4)
    layer = kcells.build(cell)
    assert isinstance(layer, layers.LSTM)
    assert layer.cell is cell


def test_a_cell_of_another_dtype_policy_keeps_it():
    cell = layers.LSTMCell(4, dtype="float64")
    layer = kcells.build(cell)
    assert type(layer) is kcells.RNN
    assert kcells.explain(layer).path == "loop"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lstm", {"activation": "relu"}),
        ("lstm", {"recurrent_activation": "hard_sigmoid"}),
        ("lstm", {"use_bias": False}),
        ("lstm", {"recurrent_dropout": 0.1}),
        ("lstm", {"unroll": True}),
        ("lstm", {"dispatch": "never"}),
        ("gru", {"reset_after": False}),
        ("gru", {"activation": None}),
        ("simple_rnn", {}),
    ],
)
def test_the_loop_where_no_kernel_computes_it(name, arguments):
    layer = kcells.build(name, 4, **arguments)
    assert type(layer) is kcells.RNN
    assert not isinstance(layer, (layers.LSTM, layers.GRU))
    assert kcells.explain(layer).path in ("loop", "unrolled")
    assert layer(np.ones((2, 3, 5), "float32")).shape == (2, 4)


def test_layers_are_counted_as_if_there_were_no_dispatcher():
    keras.utils.clear_session()
    assert [kcells.build("lstm", 2).name for _ in range(2)] == ["lstm", "lstm_1"]
    assert kcells.build("simple_rnn", 2).name == "rnn"


# -- Cells of plugins


def test_a_cell_with_the_very_weights_becomes_the_layer():
    layer = kcells.build(PeepholeLSTMCell, 4, return_state=True)
    assert isinstance(layer, layers.LSTM)
    assert not layer.unit_forget_bias


def test_a_cell_with_other_weights_keeps_them():
    layer = kcells.build(BasicLSTMCell, 4)
    assert type(layer) is kcells.RNN
    assert isinstance(layer.cell, BasicLSTMCell)
    assert kcells.explain(layer).path == "fused"


@pytest.mark.parametrize(
    ("name", "arguments", "condition"),
    [
        (PeepholeLSTMCell, {"peepholes": True}, "there are no peepholes"),
        (PeepholeLSTMCell, {"projection": 2}, "there is no projection"),
        (CoupledLSTMCell, {}, "the gates are independent"),
        ("ln_gru", {}, "nothing is normalized"),
        ("mlstm", {}, "the cell declares a built-in LSTM or GRU that computes the same"),
    ],
)
def test_reasons_of_the_author(name, arguments, condition):
    layer = kcells.build(name, 4, **arguments)
    assert type(layer) is kcells.RNN
    explanation = kcells.explain(layer)
    assert explanation.path == "loop"
    assert condition in [r.condition for r in explanation.reasons if not r.holds]
    with pytest.raises(DispatchError, match=condition):
        kcells.build(name, 4, dispatch="require", **arguments)


def test_layer_norm_off_is_a_gru():
    layer = kcells.build("ln_gru", 4, normalize=False, dropout=0.2)
    assert isinstance(layer, layers.GRU)
    assert layer.dropout == 0.2


def test_an_answer_that_is_none():
    class Wrong(kcells.Cell):
        state_size = 2

        def call(self, inputs, states):
            return states[0], states

        def equivalent(self):
            return "lstm"

    with pytest.raises(CellError) as caught:
        kcells.build(Wrong)
    assert str(caught.value) == (
        "Wrong.equivalent() returned 'lstm'.\n"
        "  It has to return a kcells.Equivalence, or None where no built-in is the same."
    )


# -- require


def test_require_names_every_reason():
    with pytest.raises(DispatchError) as caught:
        kcells.build("lstm", 4, activation="relu", unroll=True, dispatch="require")
    assert str(caught.value) == (
        'LSTMCell: dispatch="require" was asked for, and no built-in layer can stand in.\n'
        "  It would take:\n"
        "    activation is tanh         relu\n"
        "    the loop is not unrolled   unroll=True\n"
        '  Change these, or use dispatch="auto", which runs the cell in a loop.'
    )
    assert isinstance(caught.value, KCellsError)
    assert isinstance(caught.value, ValueError)
    failing = {reason.condition for reason in caught.value.reasons if not reason.holds}
    assert {"activation is tanh", "the loop is not unrolled"} <= failing


def test_require_is_met():
    assert isinstance(kcells.build("gru", 4, dispatch="require"), layers.GRU)
    layer = kcells.build(BasicLSTMCell, 4, dispatch="require")
    assert (type(layer), layer.dispatch) == (kcells.RNN, "require")


# -- Saving


@pytest.mark.parametrize(
    ("name", "dispatch"),
    [
        ("lstm", "auto"),
        ("lstm", "require"),
        ("lstm", "never"),
        ("gru", "auto"),
        (BasicLSTMCell, "auto"),
        (BasicLSTMCell, "require"),
        (BasicLSTMCell, "never"),
    ],
)
def test_the_policy_survives(tmp_path, rng, name, dispatch):
    model = keras.Sequential([keras.Input((5, 3)), kcells.build(name, 4, dispatch=dispatch)])
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = kcells.load_model(path)
    before, after = model.layers[0], loaded.layers[0]
    assert type(after) is type(before)
    assert after.dispatch == before.dispatch == dispatch
    assert kcells.explain(after) == kcells.explain(before)
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_weights_files_go_both_ways(tmp_path, rng, name):
    """Between the layer that is handed out and Keras' own."""

    def model(layer):
        return keras.Sequential([keras.Input((5, 3)), layer])

    models = [model(kcells.build(name, 4)), model(BUILTINS[name](4))]
    names = [[w.name for w in m.weights] for m in models]
    assert names[0] == names[1] == ["kernel", "recurrent_kernel", "bias"]
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    for k, source in enumerate(models):
        path = tmp_path / f"{k}.weights.h5"
        for weight in source.weights:
            weight.assign(rng.normal(size=weight.shape))
        source.save_weights(path)
        for target in models:
            target.load_weights(path)
            np.testing.assert_allclose(
                target.predict(x, verbose=0), source.predict(x, verbose=0), atol=1e-6
            )


def test_clone():
    model = keras.Sequential([keras.Input((5, 3)), kcells.build("lstm", 4, dispatch="require")])
    clone = keras.models.clone_model(model)
    assert clone.layers[0].dispatch == "require"
    assert type(clone.layers[0]) is type(model.layers[0])


def test_the_wrapper_of_keras_takes_it(rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    ours = layers.Bidirectional(kcells.build("lstm", 4))
    theirs = layers.Bidirectional(layers.LSTM(4, use_cudnn=False))
    for layer in (ours, theirs):
        layer.build(x.shape)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(x)), keras.ops.convert_to_numpy(theirs(x)), atol=1e-6
    )


def test_keras_is_told_not_to_compile_what_xla_cannot(kernels, backend):
    layer = kcells.build("lstm", 4)
    assert layer.supports_jit == (backend != "tensorflow")
    assert kcells.build("lstm", 4, dispatch="never").supports_jit


# -- Dropout


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_dropout_of_inputs_is_drawn_once_a_sequence(name, rng):
    """The kernel drops what the loop drops, with the same seed."""
    x = np.ones((2, 6, 8), "float32")
    layer, loop = (
        kcells.build(name, 4, dropout=0.5, return_sequences=True, seed=3, dispatch=dispatch)
        for dispatch in ("auto", "never")
    )
    for one in (layer, loop):
        one.build(x.shape)
    loop.set_weights(layer.get_weights())
    loud, looped, quiet = (
        keras.ops.convert_to_numpy(result)
        for result in (layer(x, training=True), loop(x, training=True), layer(x))
    )
    np.testing.assert_allclose(loud, looped, rtol=1e-5, atol=1e-6)
    assert not np.allclose(quiet, loud)
    assert np.array_equal(keras.ops.convert_to_numpy(layer(x)), quiet)


def test_a_fit_of_every_kind(rng):
    """One training step in which nothing special is done, with a mask from upstream."""
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(7, 5, mask_zero=True)(inputs)
    x = kcells.build("lstm", 4, return_sequences=True, dropout=0.2)(x)
    x = kcells.Bidirectional(kcells.build("gru", 3))(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    tokens = rng.integers(0, 7, (8, 6))
    tokens[0] = 0
    before = [keras.ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
    model.fit(tokens, rng.normal(size=(8, 1)), verbose=0)
    after = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    assert all(np.isfinite(w).all() for w in after)
    assert sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)) >= 7
