"""`kcells.Wrapper`: what it does around a cell, and that the cell runs as it would alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from calls_and_gradients import WAYS, differentiate, rare
from hypothesis import given
from hypothesis import strategies as st
from keras import ops, tree

import kcells
from kcells.errors import ArgumentError, CellError, DispatchError, UnknownCellError
from kcells.structure import map_leaves, plain
from tests.layers.test_any_structure import LeakyCell, arrays, masks, relaxed, structures

BATCH, TIME, FEATURES = 4, 5, 3
# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
RESET = np.array([[0, 0, 1, 0, 1], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 0, 0]], bool)


@keras.saving.register_keras_serializable(package="kcells-tests")
class RatioCell(kcells.Wrapper):
    """before: x W / x_0, and after: y / (1 + |x_1|) + mean(y) / y_0; neither bears zeros."""

    def build_before(self, inputs):
        self.kernel = self.add_weight(shape=(inputs.shape[-1], 2), name="before")

    def build_after(self, inputs, outputs):
        self.scale = self.add_weight(shape=outputs.shape[-1:], name="after")

    def before(self, inputs, training=False):
        return ops.matmul(inputs, self.kernel) / inputs[..., :1]

    def after(self, inputs, outputs, training=False):
        # Of the states of an LSTM or GRU nothing is zero but the first one.
        ratio = ops.mean(outputs, axis=-1, keepdims=True) / outputs[..., :1]
        return self.scale * outputs / (1.0 + ops.abs(inputs[..., 1:2])) + ops.tanh(ratio)


@keras.saving.register_keras_serializable(package="kcells-tests")
class RatioByStepCell(RatioCell):
    """The same, as a cell of its own whose steps the engine runs one by one."""

    def call(self, inputs, states, training=False):
        outputs, states = self.bound(self.before(inputs), states, training)
        return self.after(inputs, outputs), states


def inner(kind):
    """A cell for each path of the engine, with the same weights each time."""
    keras.utils.set_random_seed(7)
    cells = {
        "fused": lambda: kcells.cell("lstm", 4, bias_initializer="random_normal"),
        "loop": lambda: kcells.cell("ln_gru", 4, bias_initializer="random_normal"),
        "parallel": lambda: kcells.cell("min_gru", 4, bias_initializer="random_normal"),
        "stack": lambda: kcells.cell(["min_gru", "lstm"], 4),
        "wrapper": lambda: RatioCell(kcells.cell("gru", 4)),
    }
    return cells[kind]()


KINDS = ("fused", "loop", "parallel", "stack", "wrapper")


def pair(kind, **options):
    """A wrapped cell twice: on its own best path, and step by step."""
    layers = []
    for cls, dispatch in ((RatioCell, "auto"), (RatioByStepCell, "never")):
        layer = kcells.build(cls(inner(kind)), dispatch=dispatch, **options)
        layer.build((BATCH, TIME, FEATURES))
        layers.append(layer)
    assert layers[0]._plan.wraps
    assert not layers[1]._plan.wraps
    rng = np.random.default_rng(5)
    for one, other in zip(layers[0].weights, layers[1].weights, strict=True):
        # Where all weights are positive, no output is zero.
        value = np.abs(rng.normal(0.3, 0.3, one.shape)) + 0.1
        one.assign(value)
        other.assign(value)
    return layers


def sequences(rng):
    return np.abs(rng.normal(size=(BATCH, TIME, FEATURES))).astype("float32") + 0.5


def both(layers, x, way=WAYS[0], **arguments):
    """Results and gradients of two layers."""
    found = []
    for layer in layers:

        def function(tensors, layer=layer):
            return tree.flatten(layer(tensors[0], **arguments))

        found.append(differentiate(function, layer, [x], way))
    return found


def assert_equal(found, what=""):
    (results, gradients), (expected, expected_gradients) = found
    for one, other in zip([*results, *gradients], [*expected, *expected_gradients], strict=True):
        assert np.isfinite(one).all(), what
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * scale, err_msg=what)


# -- A wrapper that does nothing changes nothing


class NothingCell(kcells.Wrapper):
    """Hooks that give what they get."""

    def before(self, inputs, training=False):
        return inputs

    def after(self, inputs, outputs, training=False):
        return outputs


@relaxed
@given(structures, masks, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_identity_changes_nothing(sizes, mask, go_backwards, stateful, sequences_too, zeros):
    rng = np.random.default_rng(4)
    options = {
        "go_backwards": go_backwards,
        "stateful": stateful,
        "return_sequences": sequences_too,
        "return_state": True,
        "zero_output_for_mask": zeros,
    }
    plain_layer = kcells.RNN(LeakyCell(sizes), **options)
    wrapped = kcells.RNN(NothingCell(LeakyCell(sizes)), **options)
    for use_mask in (True, False, True):
        x = arrays(sizes, rng, 2, 3)
        given_mask = ops.convert_to_tensor(mask) if use_mask else None
        results = [layer(x, mask=given_mask) for layer in (wrapped, plain_layer)]
        tree.assert_same_structure(*map(plain, results))
        for one, other in zip(*map(tree.flatten, results), strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    specs = map_leaves(lambda leaf, _: keras.KerasTensor(leaf.shape), x)
    shapes = [
        [tuple(s.shape) for s in tree.flatten(layer(specs))] for layer in (wrapped, plain_layer)
    ]
    assert shapes[0] == shapes[1]


# -- The engine's way is the way step by step


OPTIONS = [
    {},
    {"return_sequences": True, "return_state": True},
    {"go_backwards": True, "zero_output_for_mask": True},
    {"return_sequences": True, "zero_output_for_mask": True, "return_state": True},
    {"return_all_states": True},
    {"return_sequences": True, "train_initial_state": True, "go_backwards": True},
    {"checkpoint": 2, "return_sequences": True},
    {"tbptt": 2, "return_state": True},
    {"unroll": True},
]


@pytest.mark.parametrize(
    ("kind", "options", "masked"),
    [
        ("fused", OPTIONS[1], True),
        ("parallel", OPTIONS[0], True),
        *(rare(k, o, m) for k in KINDS for o in OPTIONS for m in (False, True)),
    ],
    ids=str,
)
def test_results_and_gradients_are_those_step_by_step(kind, options, masked, rng):
    layers = pair(kind, **options)
    found = both(layers, sequences(rng), mask=MASK if masked else None)
    assert_equal(found, f"{kind} {options}")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_the_backend(way, rng):
    layers = pair("fused", return_sequences=True)
    assert_equal(both(layers, sequences(rng), way, mask=MASK), way)


@pytest.mark.parametrize("kind", ["fused", *map(rare, ["loop", "parallel", "stack", "wrapper"])])
@pytest.mark.parametrize("options", [OPTIONS[1], *map(rare, [OPTIONS[0], OPTIONS[4]])], ids=str)
def test_resets_and_lengths(kind, options, rng):
    layers = pair(kind, **options)
    lengths = np.array([5, 3, 4, 1], "int32")
    assert_equal(both(layers, sequences(rng), reset=RESET, lengths=lengths), kind)
    assert_equal(both(layers, sequences(rng), reset=RESET, mask=MASK), kind)


@pytest.mark.parametrize("kind", ["fused", *map(rare, ["loop", "parallel", "stack", "wrapper"])])
@pytest.mark.parametrize("options", [OPTIONS[1], *map(rare, [OPTIONS[0], OPTIONS[2]])], ids=str)
@pytest.mark.parametrize("what", [np.nan, 0.0, np.inf])
def test_what_stands_at_masked_steps_touches_nothing(kind, options, what, rng):
    layer, _ = pair(kind, **options)
    x = sequences(rng)
    spoilt = np.where(MASK[..., None], x, np.float32(what))
    (clean,), (found,) = both([layer], x, mask=MASK), both([layer], spoilt, mask=MASK)
    assert_equal([found, clean], f"{kind} {what}")
    assert not found[1][-1][~MASK].any()


def test_stateful_layers_remember_and_reset(rng):
    layers = pair("fused", stateful=True, return_sequences=True)
    x = sequences(rng)
    for _ in range(2):
        one, other = (ops.convert_to_numpy(layer(x, mask=MASK)) for layer in layers)
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max())
    for one, other in zip(*(tree.flatten(layer.states) for layer in layers), strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other), atol=1e-5
        )
    layers[0].reset_state()
    assert not any(ops.convert_to_numpy(s).any() for s in tree.flatten(layers[0].states))


def test_both_directions(rng):
    x = sequences(rng)
    results = []
    for layer in pair("fused", return_sequences=True):
        two = kcells.Bidirectional(layer)
        two.build((BATCH, TIME, FEATURES))
        value = np.random.default_rng(8)
        for weight in two.weights:
            weight.assign(np.abs(value.normal(0.3, 0.3, weight.shape)) + 0.1)
        results.append(ops.convert_to_numpy(two(x, mask=MASK, reset=RESET)))
    np.testing.assert_allclose(*results, atol=2e-5 * np.abs(results[1]).max())


def test_a_sequence_of_no_steps_gives_zeros(rng):
    for layer in pair("fused", return_state=True):
        y, h, c = layer(np.zeros((BATCH, 0, FEATURES), "float32"))
        assert not ops.convert_to_numpy(y).any()
        assert tuple(y.shape) == (BATCH, 4)
        assert tuple(h.shape) == tuple(c.shape) == (BATCH, 4)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("kind", ["fused", "parallel"])
def test_a_length_that_a_graph_learns_late(kind, return_sequences, is_masked, rng):
    """In a graph of TensorFlow; elsewhere it is known when the call is made."""
    layer, _ = pair(kind, return_sequences=return_sequences)

    def call(x):
        return layer(x, mask=ops.ones(ops.shape(x)[:2], "bool") if is_masked else None)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call = tf.function(call, input_signature=[tf.TensorSpec((None, None, FEATURES))])
    x = sequences(rng)
    np.testing.assert_allclose(
        ops.convert_to_numpy(call(x)), ops.convert_to_numpy(layer(x)), rtol=1e-4
    )
    assert not np.any(ops.convert_to_numpy(call(x[:, :0])))


def test_constants_reach_the_cell(rng):
    class ShiftedCell(kcells.Cell):
        state_size = 2

        def call(self, inputs, states, constants):
            h = 0.5 * states[0] + inputs + constants["shift"]
            return h, [h]

    x = rng.normal(size=(2, 3, 2)).astype("float32")
    shift = {"shift": rng.normal(size=(2, 2)).astype("float32")}
    expected = kcells.RNN(ShiftedCell())(x, constants=shift)
    found = kcells.RNN(NothingCell(ShiftedCell()))(x, constants=shift)
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(expected))


# -- What runs, and what is said of it


def test_the_path_is_that_of_the_cell():
    for kind, path in (("fused", "fused"), ("parallel", "parallel"), ("loop", "loop")):
        layer = kcells.build(NothingCell(inner(kind)))
        explanation = kcells.explain(layer)
        assert explanation.path == path
        first = explanation.reasons[0]
        assert (first.condition, first.holds) == (
            "what is around the cell sees single steps and no states",
            True,
        )
        alone = kcells.explain(kcells.RNN(inner(kind), dispatch="auto"))
        assert explanation.kernel == alone.kernel
        assert explanation.reasons[1:] == alone.reasons
    assert kcells.build(NothingCell(inner("fused")), dispatch="require") is not None
    with pytest.raises(DispatchError, match="nothing is normalized"):
        kcells.build(NothingCell(inner("loop")), dispatch="require")


def test_wrappers_in_wrappers_and_in_a_stack_keep_the_path():
    deep = NothingCell(RatioCell(NothingCell(kcells.cell("lstm", 4))))
    assert kcells.explain(kcells.build(deep)).path == "fused"
    stack = kcells.build([NothingCell(kcells.cell("lstm", 4)), kcells.cell("ln_gru", 4)])
    conditions = [r.condition for r in kcells.explain(stack).reasons]
    assert "cell 0: what is around the cell sees single steps and no states" in conditions


def test_what_touches_states_runs_in_a_loop(rng):
    class HalvedCell(kcells.Wrapper):
        def __init__(self, cell, *args, on=True, **kwargs):
            super().__init__(cell, *args, **kwargs)
            self.on = on

        @property
        def touches_states(self):
            return self.on

        def around(self, step, inputs, states, training=False):
            outputs, new = step(states)
            return outputs, [h / 2 for h in new]

    x = sequences(rng)
    layer = kcells.build(HalvedCell, "gru", 4, return_state=True)
    assert kcells.explain(layer).path == "loop"
    assert layer._bound.hoists
    _, h = layer(x)
    gru = kcells.build("gru", 4, return_state=True)
    gru.build(x.shape)
    gru.set_weights(layer.get_weights())
    state = np.zeros((BATCH, 4), "float32")
    for t in range(TIME):
        state = ops.convert_to_numpy(gru(x[:, t : t + 1], initial_state=[state])[1]) / 2
    np.testing.assert_allclose(ops.convert_to_numpy(h), state, atol=1e-6)
    assert kcells.explain(kcells.build(HalvedCell, "gru", 4, on=False)).path == "fused"


def test_a_loss_of_what_sees_many_steps_is_refused(rng):
    class LosingCell(kcells.Wrapper):
        def after(self, inputs, outputs, training=False):
            self.add_loss(ops.sum(outputs))
            return outputs

    with pytest.raises(CellError, match="LosingCell calls add_loss where it sees many steps"):
        kcells.build(LosingCell, "lstm", 4)(sequences(rng))


def test_losses_of_the_cell_inside_are_kept(rng):
    def losses(wrap):
        keras.utils.set_random_seed(3)
        cell = keras.layers.GRUCell(4, activity_regularizer="l2", kernel_regularizer="l2")
        layer = kcells.build(wrap(cell))
        layer(sequences(np.random.default_rng(0)))
        return [float(loss) for loss in layer.losses]

    found, expected = losses(NothingCell), losses(lambda cell: cell)
    np.testing.assert_allclose(sorted(found), sorted(expected), rtol=1e-5)
    assert len(found) == 2


def test_dropout_of_the_cell_inside_is_drawn_once_a_sequence():
    cell = kcells.cell("gru", 4, dropout=0.5, kernel_initializer="ones", seed=1)
    layer = kcells.build(NothingCell(cell), return_sequences=True)
    layer(np.ones((2, 3, 6), "float32"), training=True)
    assert cell._dropout_mask is None


def test_a_regularizer_of_activity_counts_each_step(rng):
    cell = NothingCell(kcells.cell("gru", 4), activity_regularizer="l2")
    layer = kcells.build(cell)
    assert kcells.explain(layer).path == "loop"
    layer(sequences(rng))
    assert len(layer.losses) == 1


# -- Made, saved, exported


def test_arguments_go_where_they_belong():
    class ScaledCell(kcells.Wrapper):
        def __init__(self, cell, *args, factor=2.0, **kwargs):
            super().__init__(cell, *args, **kwargs)
            self.factor = factor

    cell = kcells.cell(ScaledCell, "lstm", 8, factor=3.0, use_bias=False, name="outer")
    assert (cell.factor, cell.cell.units, cell.cell.use_bias, cell.name) == (3.0, 8, False, "outer")
    assert cell.state_size == [8, 8]
    stack = kcells.cell(ScaledCell, ["gru", "lstm"], 8)
    assert stack.state_size == [8, [8, 8]]
    layer = kcells.build(
        ScaledCell, "lstm", units=8, factor=3.0, return_sequences=True, dtype="float64"
    )
    assert layer.cell.cell.dtype_policy.name == layer.cell.dtype_policy.name == "float64"
    assert cell.get_config()["factor"] == 3.0


def test_what_cannot_be_made():
    with pytest.raises(ArgumentError, match='LSTMCell takes an argument "unitz"'):
        kcells.build(NothingCell, "lstm", unitz=8)
    with pytest.raises(ArgumentError, match="GRUCell is made already; it cannot take units=8"):
        kcells.build(NothingCell, keras.layers.GRUCell(4), units=8)
    with pytest.raises(UnknownCellError, match='no installed plugin declares a cell "lsmt"'):
        kcells.build(NothingCell, "lsmt", 8)
    with pytest.raises(CellError, match="GRU is a layer that runs over time"):
        kcells.build(NothingCell, keras.layers.GRU(4))
    with pytest.raises(DispatchError, match="the cell declares a built-in"):
        kcells.to_builtin(kcells.build(NothingCell, "lstm", 4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_it_back(kind, rng, tmp_path):
    layer, _ = pair(kind, return_sequences=True)
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    x = sequences(rng)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


def test_a_cell_in_two_wrappers_is_one_in_a_file(rng, tmp_path):
    @keras.saving.register_keras_serializable(package="kcells-tests")
    class PassingCell(NothingCell):
        pass

    shared = kcells.cell("lstm", FEATURES)
    layers = [kcells.build(PassingCell(shared), return_sequences=True) for _ in range(2)]
    model = keras.Sequential([keras.Input((None, FEATURES)), *layers])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].cell.cell is loaded.layers[1].cell.cell
    assert len(loaded.weights) == len(model.weights) == 3


@pytest.mark.parametrize("kind", ["fused", "parallel", "wrapper"])
def test_a_stream_gives_the_same_step_by_step(kind, rng):
    layer, _ = pair(kind, return_sequences=True)
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    stream, x = kcells.to_streaming(model), sequences(rng)
    states = stream.initial_states(BATCH)
    expected = ops.convert_to_numpy(model(x))
    for t in range(TIME):
        result = stream({"inputs": x[:, t], "states": states})
        states = result["states"]
        np.testing.assert_allclose(
            ops.convert_to_numpy(result["outputs"]), expected[:, t], rtol=1e-4, atol=1e-5
        )


def test_a_cell_of_another_policy_keeps_it(rng):
    cell = kcells.cell("gru", 4, dtype="float64")
    layer = kcells.build(NothingCell(cell))
    assert kcells.explain(layer).path == "loop"
    assert keras.backend.standardize_dtype(layer(sequences(rng)).dtype) == "float32"


def test_fit_trains_what_is_around_and_what_is_inside(rng):
    layer, _ = pair("fused")
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    before = [ops.convert_to_numpy(w) for w in layer.trainable_weights]
    model.fit(sequences(rng), np.ones((BATCH, 1)), epochs=2, verbose=0)
    for weight, value in zip(layer.trainable_weights, before, strict=True):
        assert np.abs(ops.convert_to_numpy(weight) - value).max() > 0, weight.name


def test_a_checkpoint_on_a_numbered_device_keeps_its_gradient(rng):
    x, found = sequences(rng), []
    for options in ({"checkpoint": 2}, {}):
        keras.utils.set_random_seed(1)
        layer = kcells.build("lstm", 4, dispatch="never", **options)
        layer.build(x.shape)

        def function(tensors, layer=layer):
            with keras.device("cpu:0"):
                return [layer(tensors[0])]

        found.append(differentiate(function, layer, [x], WAYS[0]))
    assert_equal(found)
