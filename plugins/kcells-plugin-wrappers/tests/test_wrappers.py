"""What the NumPy programs do not know of the wrappers: random numbers, paths, nests, errors."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from keras import ops, tree
from leaky import LeakyCell
from wrappers_reference import embedding, lstm, run

import kcells
from kcells.errors import CellError, ConfigurationError, StructureError

BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 4
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
NEEDS = {
    "attention_window": {"length": 3},
    "device": {"device": "cpu:0"},
    "dropout": {"input_dropout": 0.3},
    "embedding": {"classes": 7, "size": FEATURES},
    "input_projection": {"size": 5},
    "output_projection": {"size": 5},
}
AROUND = (
    *("residual", "highway", "input_projection", "output_projection", "layer_norm"),
    *("dropout", "zoneout", "device", "multiplicative"),
)
OF_ITS_OWN = ("fast_slow", "attention_window")
POINTWISE = ("residual", "highway", "input_projection", "output_projection", "layer_norm")


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def sequences(rng, *shape):
    return rng.normal(size=(BATCH, TIME, *(shape or (FEATURES,)))).astype("float32")


def wrap(name, cell, **options):
    return kcells.cell(name, cell, **{**NEEDS.get(name, {}), **options})


# -- In every order


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        pytest.param(*pair, marks=pytest.mark.one_in(8))
        for pair in itertools.product(AROUND, AROUND)
    ],
)
def test_wrappers_nest_in_every_order(outer, inner, rng):
    x = sequences(rng)
    cell = wrap(outer, wrap(inner, kcells.cell("lstm", UNITS)))
    layer = kcells.build(cell, return_sequences=True, return_state=True)
    found = layer(x, mask=MASK)
    again = kcells.build(
        type(cell).from_config(cell.get_config()), dispatch="never", compile="never", unroll=True,
        return_sequences=True, return_state=True,
    )  # fmt: skip
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    for one, other in zip(found, again(x, mask=MASK), strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), rtol=1e-4, atol=1e-5)
    touching = {"zoneout", "multiplicative"} & {outer, inner}
    assert kcells.explain(layer).path == ("loop" if touching else "fused")


def test_an_embedding_is_lowest(rng):
    ids = rng.integers(7, size=(BATCH, TIME))
    for outer in ("output_projection", "layer_norm", "dropout", "zoneout", "device"):
        layer = kcells.build(wrap(outer, wrap("embedding", kcells.cell("lstm", UNITS))))
        assert layer(ids).shape[0] == BATCH


@pytest.mark.parametrize("name", [*POINTWISE, "dropout", "device", "embedding"])
def test_the_cell_keeps_its_path(name):
    layer = kcells.build(name, "lstm", UNITS, **NEEDS.get(name, {}))
    assert kcells.explain(layer).path == "fused"
    assert (
        kcells.explain(kcells.build(wrap(name, kcells.cell("min_gru", UNITS)))).path == "parallel"
    )


def test_a_cell_on_a_device_is_trained():
    """Keras on PyTorch has no gradients for what is made on "cpu:0", which is the only CPU."""
    layer = kcells.build("device", "simple_rnn", UNITS, device="cpu:0")
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer])
    model.compile("sgd", "mse")
    x, before = np.ones((BATCH, TIME, FEATURES)), layer.get_weights()
    model.fit(x, np.ones((BATCH, UNITS)), verbose=0)
    assert all((new != old).any() for new, old in zip(layer.get_weights(), before, strict=True))


def test_a_list_makes_a_stack(rng):
    layer = kcells.build("residual", ["lstm", "gru"], UNITS, return_sequences=True)
    assert layer(sequences(rng)).shape == (BATCH, TIME, UNITS)
    assert kcells.explain(layer).path == "fused"
    every = kcells.build([kcells.cell("residual", "lstm", UNITS) for _ in range(3)])
    assert every(sequences(rng)).shape == (BATCH, UNITS)


@pytest.mark.parametrize("name", [*POINTWISE, "zoneout", "multiplicative", *OF_ITS_OWN])
def test_what_stands_at_masked_steps_touches_nothing(name, rng, gradients):
    x = sequences(rng)
    layer = kcells.build(wrap(name, kcells.cell("lstm", UNITS)), return_sequences=True)
    layer.build(x.shape)

    def loss(arrays):
        return ops.sum(ops.sin(layer(arrays[0], mask=MASK)))

    expected = gradients(loss, layer.trainable_variables, [x])
    spoilt = np.where(MASK[..., None], x, np.float32(np.nan))
    found = gradients(loss, layer.trainable_variables, [spoilt])
    for one, other in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(numbers(layer(x, mask=MASK)), numbers(layer(spoilt, mask=MASK)))


@pytest.mark.parametrize("name", [*AROUND, *OF_ITS_OWN])
def test_a_stream_gives_the_same_step_by_step(name, rng):
    x = sequences(rng)
    layer = kcells.build(wrap(name, kcells.cell("lstm", UNITS)), return_sequences=True)
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    stream = kcells.to_streaming(model)
    states, expected = stream.initial_states(BATCH), numbers(model(x))
    for t in range(TIME):
        result = stream({"inputs": x[:, t], "states": states})
        states = result["states"]
        np.testing.assert_allclose(numbers(result["outputs"]), expected[:, t], atol=1e-5)


# -- Embedding


def test_embedding_against_numpy(rng, gradients, derivative):
    ids = rng.integers(7, size=(BATCH, TIME)).astype("int32")
    layer = kcells.build("embedding", "lstm", UNITS, classes=7, size=2, return_sequences=True)
    layer.build(ids.shape)
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    weights = {w.name: numbers(w).astype("float64") for w in layer.weights}
    zeros = [np.zeros((BATCH, UNITS))] * 2
    y, *_ = run(embedding(lstm), weights, [ids], zeros, MASK)
    np.testing.assert_allclose(numbers(layer(ids, mask=MASK)), y, atol=1e-5)
    factors = rng.normal(size=y.shape)

    def loss():
        return float(np.vdot(run(embedding(lstm), weights, [ids], zeros, MASK)[0], factors))

    def ours(arrays):
        return ops.sum(layer(ids, mask=MASK) * ops.convert_to_tensor(factors, "float32"))

    (found, *_), _ = gradients(ours, [layer.cell.tables[0]], [])
    direction = rng.choice([-1.0, 1.0], size=found.shape)
    expected = derivative(loss, weights["embeddings"], direction)
    assert abs(np.vdot(found, direction) - expected) < 1e-3 * np.abs(found).sum()


def test_embedding_of_any_shape_and_of_ids_that_are_masked(rng):
    cell = kcells.cell("embedding", LeakyCell([(2, 3)]), classes=5, size=3)
    ids = rng.integers(5, size=(BATCH, TIME, 2))
    ids[~MASK] = -7
    layer = kcells.RNN(cell, return_sequences=True)
    found = numbers(layer([ids], mask=MASK)[0])
    assert found.shape == (BATCH, TIME, 2, 3)
    assert np.isfinite(found).all()


# -- Dropout


def dropped(rng, cell, x, **options):
    layer = kcells.RNN(
        kcells.cell("dropout", cell, **options), return_sequences=True, return_state=True
    )
    return [numbers(leaf) for leaf in tree.flatten(layer([x], training=True))]


class EchoCell(keras.layers.Layer):
    """The output is the input; the states count what the steps before left of one."""

    state_size = (50,)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, states):
        return inputs[0] + 0.0 * states[0], [ops.ones_like(states[0])]


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("where", ["input_dropout", "output_dropout"])
def test_dropout_of_inputs_and_outputs(variational, where, rng):
    x = np.ones((BATCH, TIME, 50), "float32")
    y, _ = dropped(rng, EchoCell(), x, **{where: 0.25}, variational=variational, seed=1)
    assert set(np.unique(y.round(4))) == {0.0, np.float32(4 / 3).round(4)}
    assert 0.1 < (y == 0).mean() < 0.4
    same = (y == y[:, :1]).all()
    assert same == variational
    assert not (y == y[:1]).all()


def test_dropout_of_states(rng):
    x = np.zeros((BATCH, TIME, 50), "float32")
    for variational in (False, True):
        layer = kcells.RNN(
            kcells.cell("dropout", EchoCell(), state_dropout=0.5, variational=variational),
            return_all_states=True,
        )
        _, states = layer([x], training=True)
        states = numbers(states)
        assert set(np.unique(states)) == {0.0, 2.0}
        assert (states == states[:, :1]).all() == variational
        assert (numbers(layer([x])[1]) == 1.0).all()


def test_dropout_spares_what_it_is_told_to(rng):
    options = {"state_dropout": [0.9, 0.0], "seed": 3}
    layer = kcells.build("dropout", "lstm", 50, return_state=True, **options)
    _, h, c = layer(sequences(rng), training=True)
    assert (numbers(h) == 0).mean() > 0.5
    assert not (numbers(c) == 0).any()


def test_dropout_draws_other_masks_at_each_place():
    x = np.ones((BATCH, TIME, 50), "float32")
    options = {"input_dropout": 0.5, "output_dropout": 0.5, "seed": 1, "variational": True}
    y, _ = dropped(None, EchoCell(), x, **options)
    assert set(np.unique(y)) == {0.0, 4.0}
    assert 0.6 < (y == 0).mean() < 0.9  # three quarters, were the masks the same a half


# -- Zoneout


def test_zoneout_in_training_keeps_entries_as_they_were(rng):
    layer = kcells.build("zoneout", "gru", 50, rates=0.3, return_all_states=True, seed=1,
                         return_sequences=True)  # fmt: skip
    y, states = (numbers(leaf) for leaf in layer(sequences(rng), training=True))
    np.testing.assert_array_equal(y, states)
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    kept = states == before
    assert 0.2 < kept.mean() < 0.4
    assert not (kept == kept[:, :1]).all()


def test_zoneout_leaves_outputs_that_are_no_states(rng):
    x = sequences(rng)
    cell = LeakyCell([(FEATURES,)])
    zoned = kcells.RNN(kcells.cell("zoneout", cell, rates=0.5))([x[:, :1]])
    plain = kcells.RNN(LeakyCell([(FEATURES,)]))([x[:, :1]])
    np.testing.assert_array_equal(numbers(zoned[0]), numbers(plain[0]))


def test_zoneout_leaves_whole_numbers_alone():
    class CountCell(kcells.Cell):
        state_size = {"count": ()}  # noqa: RUF012

        def get_initial_state(self, batch_size=None):
            return {"count": ops.zeros((batch_size or 1,), "int32")}

        def call(self, inputs, states):
            count = states["count"] + 1
            return ops.cast(count, inputs.dtype), {"count": count}

    layer = kcells.RNN(kcells.cell("zoneout", CountCell(), rates=0.5))
    assert numbers(layer(np.ones((2, TIME, 1), "float32"), training=True)).tolist() == [TIME, TIME]


# -- Highway, residual, layer_norm


def test_a_highway_starts_as_its_bias_says(rng):
    x = sequences(rng)
    open_, shut = (
        kcells.build("highway", "lstm", FEATURES, carry_bias=bias, return_sequences=True)
        for bias in (50.0, -50.0)
    )
    np.testing.assert_allclose(numbers(open_(x)), x, atol=1e-6)
    lstm_ = kcells.build("lstm", FEATURES, return_sequences=True)
    lstm_.build(x.shape)
    shut(x)
    lstm_.set_weights(shut.get_weights()[2:])
    np.testing.assert_allclose(numbers(shut(x)), numbers(lstm_(x)), atol=1e-6)


def test_weights_start_as_they_are_told_to():
    layer = kcells.build("highway", "lstm", UNITS, coupled=False, kernel_regularizer="l2")
    layer.build((None, None, FEATURES))
    weights = {w.name: w for w in layer.cell.weights if "_" in w.name and "recurrent" not in w.name}
    assert sorted(weights) == [
        *("carry_bias", "carry_kernel", "projection_kernel"),
        *("transform_bias", "transform_kernel"),
    ]
    assert (numbers(weights["carry_bias"]) == 1).all()
    assert (numbers(weights["transform_bias"]) == -1).all()
    assert all((w.regularizer is not None) == ("kernel" in n) for n, w in weights.items())
    assert len(layer.losses) == 3


# -- Multiplicative, fast_slow


def test_around_an_lstm_it_is_the_multiplicative_lstm(rng):
    x = sequences(rng)
    ours = kcells.build("multiplicative", "lstm", UNITS, return_sequences=True)
    theirs = kcells.build("mlstm", UNITS, return_sequences=True)
    for layer in (ours, theirs):
        layer.build(x.shape)
    w = {weight.name: numbers(weight) for weight in ours.weights}
    both = np.concatenate([w["kernel"], w["multiplicative_input_kernel"]], axis=1)
    values = {
        "kernel": both,
        "recurrent_kernel": w["recurrent_kernel"],
        "multiplicative_kernel": w["multiplicative_recurrent_kernel"],
        "bias": w["bias"],
    }
    for weight in theirs.weights:
        weight.assign(values[weight.name])
    np.testing.assert_allclose(numbers(ours(x)), numbers(theirs(x)), atol=1e-6)


class NamedLSTMCell(keras.layers.LSTMCell):
    """An LSTM whose weights bear its name, which tells them apart."""

    def add_weight(self, *args, name=None, **kwargs):
        return super().add_weight(*args, name=f"{self.name}_{name}", **kwargs)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("depth", [2, 4])
def test_fast_slow_against_numpy(depth, rng, compare):
    fast = [NamedLSTMCell(UNITS, name=f"f{k}", dtype="float64") for k in range(1, depth + 1)]
    cell = kcells.cell(
        "fast_slow", fast, slow=NamedLSTMCell(2, name="s", dtype="float64"), dtype="float64"
    )
    layer = kcells.RNN(cell, return_sequences=True, return_state=True, dtype="float64")
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))

    def of(name):
        return tuple(f"{name}_{part}" for part in ("kernel", "recurrent_kernel", "bias"))

    def step(w, xs, states):
        fast, slow = states[:2], states[2:]
        y, fast = lstm(w, xs, fast, of("f1"))
        z, slow = lstm(w, y, slow, of("s"))
        y, fast = lstm(w, z, fast, of("f2"))
        for k in range(3, depth + 1):
            y, fast = lstm(w, [np.ones(1)], fast, of(f"f{k}"))
        return y, [*fast, *slow]

    def reference(weights, x, *states):
        return run(step, weights, [x], states, MASK)

    compare(layer, rng.normal(size=(BATCH, TIME, FEATURES)), reference, mask=MASK)


def test_fast_slow_makes_its_cells():
    two = kcells.cell("fast_slow", "gru", 8)
    assert (two.depth, [c.units for c in two.fast], two.slow.units) == (2, [8, 8], 8)
    assert two.state_size == {"fast": 8, "slow": 8}
    cell = keras.layers.LSTMCell(8)
    four = kcells.cell("fast_slow", cell, slow="gru", depth=4, units=3)
    assert four.fast[0] is cell
    assert len({id(c) for c in four.fast}) == 4
    assert (four.fast[3].units, four.slow.units) == (8, 3)
    four.build((None, 3))
    assert len({weight.path for weight in four.weights}) == len(four.weights)
    again = type(four).from_config(four.get_config())
    assert again.get_config() == four.get_config()


# -- Errors


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("input_projection", {"size": 0}, ConfigurationError, "size must be a positive int"),
        ("embedding", {"classes": 2.5, "size": 1}, ConfigurationError, "classes must be a"),
        ("dropout", {"input_dropout": 1.0}, ConfigurationError, "input_dropout: the rate must be"),
        ("dropout", {"state_dropout": [0.1, -1]}, ConfigurationError, "state_dropout: a rate must"),
        ("zoneout", {"rates": 1.5}, ConfigurationError, "rates: a rate must be at least 0"),
        ("layer_norm", {"epsilon": 0.0}, ConfigurationError, "epsilon must be a positive float"),
        ("layer_norm", {"normalize_outputs": False}, ConfigurationError, "nothing is normalized"),
        ("device", {"device": "the fast one"}, ConfigurationError, 'such as "cpu:0" or "gpu:1"'),
        ("fast_slow", {"depth": 1}, ConfigurationError, "depth must be an int of at least 2"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_made(name, options, error, text):
    with pytest.raises(error, match=text):
        kcells.cell(name, "lstm", UNITS, **options)


def test_cells_that_do_not_fit():
    with pytest.raises(CellError, match="GRUCell is a GRU, which carries its state on"):
        kcells.cell("multiplicative", "gru", UNITS)
    with pytest.raises(CellError, match="at least two fast cells"):
        kcells.cell("fast_slow", ["lstm"], UNITS)
    fast = [keras.layers.LSTMCell(4), keras.layers.LSTMCell(3)]
    layer = kcells.build("fast_slow", fast)
    with pytest.raises(StructureError, match=r"two have different ones.\n  cell 1, LSTMCell"):
        layer(np.ones((2, 3, 4), "float32"))


def lstm_in(name, **options):
    return wrap(name, kcells.cell("lstm", UNITS), **options)


class MeanCell(kcells.Cell):
    """One number, whatever the inputs are."""

    state_size = [()]  # noqa: RUF012

    def call(self, inputs, states):
        h = states[0] + ops.mean(tree.flatten(inputs)[0], axis=-1)
        return h, [h]


@pytest.mark.parametrize(
    ("cell", "inputs", "text"),
    [
        (
            lambda: lstm_in("residual", project=False),
            (3,),
            r"inputs of a step:  \(2, 3\)\n  outputs of the cell: \(2, 4\)\n  Leave out project",
        ),
        (
            lambda: wrap("residual", MeanCell()),
            (3,),
            r"of the cell: \(2,\)\n  Put another cell inside, or a projection around it",
        ),
        (
            lambda: wrap("residual", MeanCell()),
            {"x": (3,)},
            "ResidualCell, which adds both up: inputs has another structure",
        ),
        (
            lambda: wrap("highway", MeanCell()),
            (),
            r"HighwayCell: inputs must have features.*its shape is \(2,\)",
        ),
        (
            lambda: lstm_in("multiplicative", state=2),
            (3,),
            "which of the 2 leaves of the state h is, from 0; received 2",
        ),
        (
            lambda: wrap("multiplicative", MeanCell()),
            (3,),
            r"h and the inputs must be vectors.\n  state 0: \(\)\n  inputs: \(3,\)",
        ),
        (lambda: lstm_in("zoneout", rates=[0.1]), (3,), "rates has another structure"),
        (lambda: lstm_in("input_projection", size={"a": 2}), (3,), "size has another structure"),
        (lambda: lstm_in("dropout", state_dropout={"h": 0.1}), (3,), "state_dropout has another"),
    ],
)
def test_what_does_not_fit_its_inputs(cell, inputs, text):
    layer = kcells.RNN(cell())
    one = (
        {k: (2, 5, *v) for k, v in inputs.items()} if isinstance(inputs, dict) else (2, 5, *inputs)
    )
    with pytest.raises((StructureError, ConfigurationError), match=text):
        layer.build(one)


def test_state_size_of_fast_slow_is_not_set():
    with pytest.raises(AttributeError, match="follows from its cells"):
        kcells.cell("fast_slow", "gru", 4).state_size = 3
