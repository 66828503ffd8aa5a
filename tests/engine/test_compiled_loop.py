"""The loop that TensorFlow compiles by itself: equal to the plain one, or not used at all.

Each comparison runs in a graph, as `fit` and `predict` do; eagerly the loop is a plain one.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops, tree
from mixing_cell import MixingCell, random_inputs, random_states

import kcells
from kcells.errors import ConfigurationError

if keras.backend.backend() != "tensorflow":
    pytest.skip("about the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from kcells.engine.backends import tensorflow as backend
from kcells.engine.backends import tensorflow_own_loop

BATCH, TIME = 4, 5
HOLES = np.array([[0, 1, 0, 1, 1], [1, 0, 1, 1, 0], [0] * 5, [1] * 5], bool)


@pytest.fixture
def loops(monkeypatch):
    """A list of the loops that were compiled."""
    made = []
    run = tensorflow_own_loop.OwnLoop.run

    def noted(self):
        made.append(self)
        return run(self)

    monkeypatch.setattr(tensorflow_own_loop.OwnLoop, "run", noted)
    return made


def in_a_graph(layer, inputs, sources=(), signature=None, **arguments):
    """Results and gradients of a call, which is part of a `tf.function`."""
    flat = [tf.constant(x) for x in tree.flatten(inputs)]
    if not layer.built:  # or the function would be traced twice
        layer.build(tree.map_structure(lambda x: x.shape, inputs))

    def call(*flat):
        with tf.GradientTape() as tape:
            tape.watch([x for x in flat if x.dtype.is_floating])
            results = tree.flatten(layer(tree.pack_sequence_as(inputs, list(flat)), **arguments))
            floats = [ops.cast(r, "float64") for r in results if r.dtype.is_floating]
            loss = sum(tf.reduce_sum(tf.sin(r) * (k + 1.0)) for k, r in enumerate(floats))
        watched = [v.value for v in layer.trainable_variables]
        watched += [x for x in flat if x.dtype.is_floating] + list(sources)
        gradients = tape.gradient(loss, watched, unconnected_gradients="zero")
        return results, [tf.convert_to_tensor(g) for g in gradients]

    results, gradients = tf.function(call, input_signature=signature)(*flat)
    return [r.numpy() for r in results], [g.numpy() for g in gradients]


def assert_same(ours, theirs, tolerance=1e-10):
    for group, others in zip(ours, theirs, strict=True):
        assert len(group) == len(others) > 0
        for a, b in zip(group, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def pair(cell, **options):
    """Two layers around one cell, compiled and not."""
    return [kcells.RNN(cell, compile=compile, **options) for compile in ("auto", "never")]


FLAGS = ("go_backwards", "return_sequences", "zero_output_for_mask")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("flags", itertools.product([False, True], repeat=len(FLAGS)), ids=str)
def test_structures_and_all_options(float64, rng, loops, masked, flags):
    cell = MixingCell("nested")
    cell.build(None)
    for weight in cell.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    both = pair(cell, return_state=True, **dict(zip(FLAGS, flags, strict=True)))
    inputs = random_inputs(rng, BATCH, TIME)
    inputs = {"deep": [{"vector": inputs["vector"]}], "matrix": (inputs["matrix"],)}
    states = random_states(rng, BATCH)
    initial = {"deep": [{"vector": states["vector"]}], "matrix": (states["matrix"],)}
    given = {"initial_state": initial, "mask": HOLES if masked else None}
    ours, theirs = (in_a_graph(layer, inputs, **given) for layer in both)
    assert len(loops) == 1
    assert_same(ours, theirs)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn", "ln_gru", "mlstm"])
def test_cells_of_keras_and_of_plugins(float64, rng, loops, name, training):
    both = pair(kcells.cell(name, 3), return_sequences=True)
    x = rng.normal(size=(BATCH, TIME, 2))
    ours, theirs = (in_a_graph(layer, x, training=training) for layer in both)
    assert len(loops) == 1
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["lstm", "ln_gru"])
def test_dropout_draws_the_same_masks(rng, loops, name):
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    results = []
    for compile in ("auto", "never"):
        cell = kcells.cell(name, 3, dropout=0.4, recurrent_dropout=0.3, seed=5)
        layer = kcells.RNN(cell, compile=compile, return_sequences=True)
        layer.build(x.shape)
        for k, weight in enumerate(layer.trainable_weights):
            weight.assign(np.random.default_rng(k).normal(size=weight.shape))
        results.append(in_a_graph(layer, x, training=True))
    assert len(loops) == 1
    assert_same(*results, tolerance=1e-5)


def test_stacks_and_both_directions(float64, rng, loops):
    x = rng.normal(size=(BATCH, TIME, 2))
    layers_ = [
        kcells.Bidirectional(kcells.build(["lstm", "ln_gru"], 3, compile=compile))
        for compile in ("auto", "never")
    ]
    for layer in layers_:
        layer.build(x.shape)
    layers_[1].set_weights(layers_[0].get_weights())
    ours, theirs = (in_a_graph(layer, x, mask=HOLES) for layer in layers_)
    assert len(loops) == 4  # one for each cell, in each direction
    assert_same(ours, theirs)


def test_mixed_precision(rng, loops):
    keras.config.set_dtype_policy("mixed_bfloat16")
    both = pair(kcells.cell("gru", 3), return_sequences=True)
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    ours, theirs = (in_a_graph(layer, x, mask=HOLES) for layer in both)
    assert len(loops) == 1
    assert ours[0][0].dtype == theirs[0][0].dtype == tf.bfloat16.as_numpy_dtype
    assert [g.dtype for g in ours[1]] == [g.dtype for g in theirs[1]]
    assert_same(
        *([[v.astype("float32") for v in g] for g in side] for side in (ours, theirs)), 0.05
    )


def test_a_frozen_layer(float64, rng, loops):
    both = pair(kcells.cell("gru", 3))
    x = rng.normal(size=(BATCH, TIME, 2))
    for layer in both:
        layer.build(x.shape)
        layer.trainable = False
    ours, theirs = (in_a_graph(layer, x) for layer in both)
    assert len(ours[1]) == 1
    assert_same(ours, theirs)


# -- Integers in inputs and states


@keras.saving.register_keras_serializable(package="kcells-tests")
class CountingCell(layers.Layer):
    """Looks tokens up and counts them: integers go in, round and out."""

    @property
    def state_size(self):
        return {"sum": 3, "count": 1}

    def build(self, input_shape):
        self.table = self.add_weight(shape=(7, 3), name="table")

    def get_initial_state(self, batch_size=None):
        return {"sum": ops.zeros((batch_size, 3)), "count": ops.zeros((batch_size, 1), "int32")}

    def call(self, inputs, states):
        looked_up = ops.take(self.table, inputs[:, 0], axis=0)
        total, count = states["sum"] * 0.9 + looked_up, states["count"] + inputs
        return {"sum": ops.tanh(total), "count": count}, {"sum": total, "count": count}


def test_integers(rng, loops):
    both = pair(CountingCell(), return_sequences=True, return_state=True)
    tokens = rng.integers(0, 7, (BATCH, TIME, 1)).astype("int32")
    ours, theirs = (in_a_graph(layer, tokens, mask=HOLES) for layer in both)
    assert len(loops) == 1
    assert_same(ours, theirs, tolerance=1e-6)


# -- Lengths


def test_thirty_lengths_are_few_programs(float64, rng, loops, monkeypatch):
    sizes = set()
    fill = tensorflow_own_loop._in_buckets

    def noted(flat):
        filled = fill(flat)
        tf.numpy_function(lambda n: sizes.add(int(n)), [tf.shape(filled[0])[0]], [])
        return filled

    monkeypatch.setattr(tensorflow_own_loop, "_in_buckets", noted)
    ours, theirs = pair(kcells.cell("gru", 3), return_sequences=True, return_state=True)
    ours.build((None, None, 2))
    signature = [tf.TensorSpec((None, None, 2), "float64")]
    call = tf.function(lambda x: ours(x), input_signature=signature)
    for length in range(1, 31):
        x = rng.normal(size=(2, length, 2))
        results = call(tf.constant(x))
        assert results[0].shape == (2, length, 3)
        for a, b in zip(results, theirs(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert sizes == {16, 32}
    assert len(loops) == 1


def test_gradients_where_the_length_is_unknown(float64, rng, loops):
    both = pair(kcells.cell("lstm", 3), return_sequences=True)
    signature = [tf.TensorSpec((None, None, 2), "float64")]
    for length in (3, 17):
        x = rng.normal(size=(BATCH, length, 2))
        assert_same(*(in_a_graph(layer, x, signature=signature) for layer in both))
    assert len(loops) == 2


# -- What keeps a loop from being compiled


class Reaching(kcells.Cell):
    """A cell whose step does something that a subclass says."""

    state_size = output_size = 2
    outside = None

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 2), initializer="ones")

    def project_inputs(self, inputs, training=False):
        return ops.matmul(inputs, self.kernel)

    def step(self, projected, states, training=False):
        h = ops.tanh(projected + self.more(states[0]))
        return h, [h]


class ReachesOut(Reaching):
    def more(self, state):
        return self.outside * state


class HiddenVariable(Reaching):
    def more(self, state):
        return self.outside[0] * state


class Random(Reaching):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)

    def more(self, state):
        return state + keras.random.normal((2,), seed=self.seed_generator)


class InPython(Reaching):
    def more(self, state):
        found = tf.numpy_function(lambda s: 0.5 * s, [state], tf.float32)
        found.set_shape(state.shape)
        return found


def obstacle_of(cell, x, **arguments):
    layer = kcells.RNN(cell, return_sequences=True)
    layer.build(x.shape)
    results = in_a_graph(layer, x, **arguments)
    (reason,) = (r for r in layer._plan.reasons if r.condition == "the step can be compiled")
    return results, reason


@pytest.mark.parametrize(
    ("kind", "outside", "obstacle"),
    [
        (HiddenVariable, lambda: [tf.Variable(0.5)], "a variable that the cell does not list"),
        (Random, lambda: None, "a step updates variables"),
        (InPython, lambda: None, "XLA has no PyFunc"),
    ],
)
def test_the_plain_loop_where_a_step_cannot_be_compiled(rng, loops, kind, outside, obstacle):
    cell = kind()
    cell.outside = outside()
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    _, reason = obstacle_of(cell, x)
    assert not reason.holds
    assert obstacle in reason.detail
    assert not loops


def test_a_gradient_for_a_tensor_that_a_step_reaches_for(rng, loops):
    """It would be lost without a word if the loop were compiled."""
    cell = ReachesOut()
    layer = kcells.RNN(cell)
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    layer.build(x.shape)

    @tf.function
    def gradient(outside):
        with tf.GradientTape() as tape:
            tape.watch(outside)
            cell.outside = outside * 1.0
            loss = tf.reduce_sum(layer(x))
        return tape.gradient(loss, outside)

    assert abs(float(gradient(tf.constant(0.5)))) > 1e-3
    assert not loops
    assert "reaches for a tensor" in layer._met.obstacle


def test_another_trace_may_have_no_obstacle(rng, loops):
    """One trace that cannot be compiled does not make the layer slow for good."""
    cell = ReachesOut()
    layer = kcells.RNN(cell)
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    layer.build(x.shape)

    def compiled(outside):
        loops.clear()
        cell.outside = outside
        tf.function(lambda: layer(x)).get_concrete_function()
        return bool(loops)

    @tf.function
    def with_a_tensor_of_the_graph(outside):
        cell.outside = outside * 1.0
        return layer(x)

    assert compiled(0.5)
    assert layer._met.obstacle == ""
    with_a_tensor_of_the_graph(tf.constant(0.5))
    assert "reaches for a tensor" in layer._met.obstacle
    assert not kcells.explain(layer).reasons[-1].holds
    assert compiled(0.5)
    assert kcells.explain(layer).reasons[-1].holds


def test_constants_keep_their_gradient(rng):
    class WithConstants(layers.Layer):
        state_size = 2

        def call(self, inputs, states, constants=None):
            h = ops.tanh(inputs + states[0] * constants)
            return h, [h]

    layer = kcells.RNN(WithConstants())
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")

    @tf.function
    def gradient(constants):
        with tf.GradientTape() as tape:
            tape.watch(constants)
            loss = tf.reduce_sum(layer(x, constants=constants))
        return tape.gradient(loss, constants)

    assert float(tf.reduce_max(tf.abs(gradient(tf.ones((BATCH, 2)))))) > 1e-3


def test_not_inside_of_what_xla_compiles_anyway(rng, loops):
    layer = kcells.RNN(kcells.cell("gru", 3))
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    layer.build(x.shape)
    plain = layer(x)
    whole = tf.function(layer, jit_compile=True)(tf.constant(x))
    assert [loop._xla for loop in loops] == [False]
    np.testing.assert_allclose(plain, whole, rtol=1e-5, atol=1e-6)


def test_the_policy(tmp_path, rng, loops):
    model = keras.Sequential([keras.Input((TIME, 2)), kcells.build("mlstm", 3, compile="never")])
    model.compile("sgd", "mse")
    model.fit(rng.normal(size=(8, TIME, 2)), np.ones((8, 3)), verbose=0)
    assert not loops
    model.save(tmp_path / "model.keras")
    layer = kcells.load_model(tmp_path / "model.keras").layers[0]
    assert layer.compile == "never"
    assert kcells.build("lstm", 3, compile="never").get_config()["compile"] == "never"
    with pytest.raises(kcells.errors.ArgumentError, match='"always" or "never"; received True'):
        kcells.build("lstm", 3, compile=True)


# -- In models


def test_fit_goes_the_same_way(rng, loops):
    """Three epochs with a stateful layer, masks and an optimizer, step by step the same."""
    x = rng.normal(size=(16, TIME, 2)).astype("float32")
    x[::3, 3:] = 0.0
    histories = []
    for compile in ("auto", "never"):
        keras.utils.set_random_seed(1)
        inputs = keras.Input(batch_shape=(4, TIME, 2))
        h = kcells.build("gru", 3, return_sequences=True, stateful=True, compile=compile)(
            layers.Masking()(inputs)
        )
        model = keras.Model(inputs, layers.Dense(1)(kcells.build("ln_gru", 3, compile=compile)(h)))
        model.compile("adam", "mse")
        fitted = model.fit(x, x.sum((1, 2)), batch_size=4, epochs=3, shuffle=False, verbose=0)
        histories.append(fitted.history["loss"])
    assert len(loops) >= 2
    np.testing.assert_allclose(*histories, rtol=1e-5)


@pytest.mark.slow
def test_a_saved_model_of_tensorflow(tmp_path, rng):
    model = keras.Sequential([keras.Input((TIME, 2)), kcells.build("gru", 3)])
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_the_loop_is_still_a_loop_where_nothing_is_traced(rng, loops):
    layer = kcells.RNN(kcells.cell("gru", 3))
    layer(rng.normal(size=(BATCH, TIME, 2)).astype("float32"))
    assert not loops
    assert not backend.under_xla()


@pytest.mark.parametrize("name", ["lstm", "ln_gru", "min_gru"])
@pytest.mark.parametrize("training", [False, True])
def test_several_tapes_at_once(rng, name, training):
    """As in the training of two models against each other; values are those of an eager call."""
    layer = kcells.build(name, 4)
    x = tf.constant(rng.normal(size=(BATCH, TIME, 3)).astype("float32"))
    layer.build(tuple(x.shape))
    weights = [w.value for w in layer.trainable_variables]

    def two():
        with tf.GradientTape() as one, tf.GradientTape() as other:
            y = layer(x, training=training)
            a, b = tf.reduce_sum(y), tf.reduce_sum(y**2)
        return [*one.gradient(a, weights), *other.gradient(b, weights)]

    def persistent():
        with tf.GradientTape(persistent=True) as tape:
            y = layer(x, training=training)
            a, b = tf.reduce_sum(y), tf.reduce_sum(y**2)
        return [*tape.gradient(a, weights), *tape.gradient(b, weights)]

    for gradients in (two, persistent):
        for found, expected in zip(tf.function(gradients)(), gradients(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class CrossingCell(keras.layers.Layer):
    """Hands each of two states on through the other, and gives neither at once."""

    state_size = (3, 3)
    output_size = 3

    def call(self, inputs, states):
        first, second = states
        return ops.tanh(first), (ops.sin(second) + inputs, ops.cos(first))


@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": True}, {"return_state": True}, {"checkpoint": 2}], ids=str
)
@pytest.mark.parametrize("cell", ["mlstm", CrossingCell], ids=str)
def test_the_jacobian(float64, rng, loops, cell, options):
    """TensorFlow makes a loop for many gradients out of that for one."""
    layer = (
        kcells.build(cell, 3, **options) if cell != CrossingCell else kcells.RNN(cell(), **options)
    )
    x = tf.constant(rng.normal(size=(BATCH, TIME, 3)))

    def jacobian(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            results = tree.flatten(layer(x))  # a state, where there is one
        return tape.jacobian(results[min(1, len(results) - 1)], x)

    expected = jacobian(kcells.RNN(layer.cell, compile="never", **options))
    assert not loops
    np.testing.assert_allclose(tf.function(jacobian)(layer), expected, rtol=1e-10, atol=1e-10)
    assert loops


@pytest.mark.parametrize(
    ("options", "xla"),
    [({}, None), ({"checkpoint": 2}, None), ({}, True), ({"checkpoint": 2, "compile": "never"}, 0)],
)
def test_the_gradient_of_a_gradient(rng, options, xla):
    """Refused where XLA compiles the loop; elsewhere that of TensorFlow's."""
    layer = kcells.build("ln_gru", 4, **options)
    x = tf.constant(rng.normal(size=(BATCH, TIME, 3)).astype("float32"))
    layer.build(tuple(x.shape))
    plain = kcells.RNN(layer.cell, compile="never")

    def penalty(layer):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(layer(x))
            loss = tf.reduce_sum(inner.gradient(y, x) ** 2)
        return outer.gradient(loss, layer.cell.kernel.value)

    program = tf.function(lambda: penalty(layer), jit_compile=bool(xla), autograph=False)
    expected = tf.function(lambda: penalty(plain), autograph=False)()
    np.testing.assert_allclose(expected, penalty(layer), rtol=1e-3, atol=1e-5)
    if xla == 0:
        np.testing.assert_allclose(program(), expected, rtol=1e-3, atol=1e-5)
        return
    with pytest.raises(ConfigurationError, match='compile="never"'):
        program()


@pytest.mark.parametrize("name", ["ln_gru", "min_gru"])
def test_forward_mode_is_refused(rng, name):
    """It asks for the gradient of a gradient, of which zeros would be the worst answer."""
    layer = kcells.build(name, 4)
    x = tf.constant(rng.normal(size=(BATCH, TIME, 3)).astype("float32"))
    layer.build(tuple(x.shape))

    def forwards():
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            y = layer(x)
        return accumulator.jvp(y)

    with pytest.raises(ConfigurationError, match="never"):
        tf.function(forwards, autograph=False)()
