"""`to_builtin`: plain layers, the same numbers, no kcells needed."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from equivalents import BasicLSTMCell, CoupledLSTMCell, ResetFirstGRUCell
from keras import layers

import kcells
from kcells.errors import ArgumentError, DispatchError


def same(ours, theirs, x):
    results = [keras.tree.flatten(layer(x)) for layer in (ours, theirs)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), rtol=1e-5, atol=1e-6
        )


def randomize(layer, rng):
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("lstm", {}, layers.LSTM),
        ("gru", {"go_backwards": True}, layers.GRU),
        ("gru", {"reset_after": False}, layers.GRU),
        ("lstm", {"activation": "relu", "use_bias": False}, layers.LSTM),
        ("simple_rnn", {"return_sequences": True}, layers.SimpleRNN),
        (BasicLSTMCell, {"forget_bias": 0.5, "return_sequences": True}, layers.LSTM),
        (ResetFirstGRUCell, {"return_state": True}, layers.GRU),
        ("ln_gru", {"normalize": False}, layers.GRU),
    ],
)
@pytest.mark.parametrize("dispatch", ["auto", "never"])
def test_layers(rng, name, arguments, kind, dispatch):
    layer = kcells.build(name, 4, dispatch=dispatch, name="reader", **arguments)
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    layer.build(x.shape)
    randomize(layer, rng)
    plain = kcells.to_builtin(layer)
    assert type(plain) is kind
    assert plain.name == "reader"
    same(layer, plain, x)


def test_a_layer_that_is_not_built(rng):
    plain = kcells.to_builtin(kcells.build("gru", 4, kernel_regularizer="l2", trainable=False))
    assert type(plain) is layers.GRU
    assert not plain.built
    assert not plain.trainable
    assert isinstance(plain.kernel_regularizer, keras.regularizers.L2)


def test_what_is_remembered_goes_along(rng):
    layer = kcells.build("lstm", 4, stateful=True)
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    layer(x)
    plain = kcells.to_builtin(layer)
    same(layer, plain, x)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
def test_bidirectional(rng, merge_mode):
    layer = kcells.Bidirectional(kcells.build("lstm", 4), merge_mode=merge_mode)
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    layer.build(x.shape)
    randomize(layer, rng)
    plain = kcells.to_builtin(layer)
    assert type(plain) is layers.Bidirectional
    assert type(plain.forward_layer) is type(plain.backward_layer) is layers.LSTM
    same(layer, plain, x)


def test_model(rng):
    """With states that go from layer to layer, in another order than the built-in's."""
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(7, 5, mask_zero=True)(inputs)
    x, h, c = kcells.build("lstm", 4, return_sequences=True, return_state=True)(x)
    basic = kcells.RNN(BasicLSTMCell(4), return_sequences=True, return_state=True)
    x, c, h = basic(x, initial_state=[c, h])
    x = kcells.Bidirectional(kcells.build("gru", 3))(x)
    model = keras.Model(inputs, [layers.Dense(1)(x), c, h])
    randomize(model, rng)
    plain = kcells.to_builtin(model)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    tokens = rng.integers(0, 7, (3, 6))
    tokens[:, 0] = 1
    tokens.sort(axis=1)
    tokens = tokens[:, ::-1].copy()
    for ours, theirs in zip(
        model.predict(tokens, verbose=0), plain.predict(tokens, verbose=0), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not any(weight is other for weight in model.weights for other in plain.weights)


def test_models_in_models(rng):
    inner = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 4, return_sequences=True)])
    model = keras.Sequential([keras.Input((5, 3)), inner, kcells.build("lstm", 2)])
    randomize(model, rng)
    plain = kcells.to_builtin(model)
    assert type(plain.layers[0].layers[0]) is layers.GRU
    same(model, plain, rng.normal(size=(2, 5, 3)).astype("float32"))


def test_the_file_needs_no_kcells(rng, tmp_path):
    inputs = keras.Input((6, 3))
    x = kcells.build("lstm", 4, return_sequences=True)(inputs)
    model = keras.Model(inputs, kcells.Bidirectional(kcells.build("gru", 3))(x))
    randomize(model, rng)
    x = rng.normal(size=(2, 6, 3)).astype("float32")
    kcells.to_builtin(model).save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        assert "kcells" not in archive.read("config.json").decode()
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, json, keras, numpy as np\n"
        f"model = keras.models.load_model({str(tmp_path / 'plain.keras')!r})\n"
        f"y = model.predict(np.load({str(tmp_path / 'x.npy')!r}), verbose=0)\n"
        "assert 'kcells' not in sys.modules\n"
        "print(json.dumps(y.tolist()))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = np.array(json.loads(run.stdout.splitlines()[-1]))
    np.testing.assert_allclose(loaded, model.predict(x, verbose=0), atol=1e-6)


def test_every_layer_that_cannot_be_is_named():
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            kcells.build("mlstm", 4, return_sequences=True, name="first"),
            kcells.build("lstm", 4, return_sequences=True),
            kcells.RNN(CoupledLSTMCell(4), name="second"),
        ]
    )
    with pytest.raises(DispatchError) as caught:
        kcells.to_builtin(model)
    lines = str(caught.value).splitlines()
    assert lines[0] == "to_builtin: no plain Keras layer computes the same. It would take:"
    assert [line.split()[0] for line in lines[1:-1]] == ['"first"', '"second"', '"second"']
    assert lines[-1].startswith("  Keep these layers as they are")


def test_inside_of_a_wrapper_that_is_unknown():
    model = keras.Sequential(
        [keras.Input((2, 5, 3)), layers.TimeDistributed(kcells.build("gru", 4))]
    )
    with pytest.raises(DispatchError, match="the layer is no wrapper"):
        kcells.to_builtin(model)


@pytest.mark.parametrize("what", ["gru", layers.Dense(1), layers.GRUCell(2)])
def test_nothing_to_convert(what):
    with pytest.raises(ArgumentError, match=r"to_builtin takes a kcells\.RNN"):
        kcells.to_builtin(what)


def test_no_built_in_cuts_gradients():
    with pytest.raises(kcells.errors.DispatchError, match="tbptt=2"):
        kcells.to_builtin(kcells.build("gru", 3, tbptt=2))
