"""`checkpoint`: the same numbers and gradients, and less that is kept for them."""

import itertools

import keras
import numpy as np
import pytest
from calls_and_gradients import MORE_WAYS, WAYS, assert_same, call, close, on_torch, rare
from keras import layers, ops
from linear_cells import FEATURES, sequences
from mixing_cell import LAYOUTS, MixingCell, pack, random_inputs, random_states

import kcells

BATCH, TIME = 4, 7
HOLES = np.array(
    [[0, 1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0, 0], [0] * 7, [1] * 7],
    bool,
)
BLOCKS = [3, rare(True), rare(1), rare(100)]
COMPILED = [("graph", "auto")]
if "xla" in WAYS:
    COMPILED += [rare("graph", "never"), rare("xla", "auto")]


def mixing(rng, layout="nested"):
    cell = MixingCell(layout)
    cell.build(None)
    cell.built = True
    for weight in cell.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    inputs, states = random_inputs(rng, BATCH, TIME), random_states(rng, BATCH)
    inputs, states = (pack(layout, x["vector"], x["matrix"]) for x in (inputs, states))
    return cell, inputs, states


@pytest.fixture
def own_loops(monkeypatch, backend):
    """On TensorFlow the loops with a backward pass of their own."""
    made = []
    if backend == "tensorflow":
        from kcells.engine.backends import tensorflow_own_loop

        real = tensorflow_own_loop.OwnLoop.run
        monkeypatch.setattr(
            tensorflow_own_loop.OwnLoop, "run", lambda self: (made.append(self), real(self))[1]
        )
    return made


@pytest.mark.parametrize(
    ("way", "compile"), [("graph", "auto"), ("graph", "never"), rare("xla", "auto")]
)
@pytest.mark.parametrize("masked", [True, rare(False)], ids=["masked", ""])
@pytest.mark.parametrize("checkpoint", BLOCKS)
def test_structures(float64, rng, own_loops, backend, checkpoint, masked, way, compile):
    if (way, compile) != ("graph", "auto") and "xla" not in WAYS:
        pytest.skip("about TensorFlow")
    cell, inputs, states = mixing(rng)
    options = {"return_sequences": True, "return_state": True, "go_backwards": masked}
    given = {"mask": HOLES if masked else None, "training": True}
    layer = kcells.RNN(cell, checkpoint=checkpoint, compile=compile, **options)
    ours = call(layer, inputs, states, way, **given)
    assert [loop._xla for loop in own_loops] == (
        [(way, compile) == ("graph", "auto")] if backend == "tensorflow" else []
    )
    plain = kcells.RNN(cell, compile="never", **options)
    assert_same(ours, call(plain, inputs, states, "eager", **given))


FLAGS = ("go_backwards", "return_sequences", "zero_output_for_mask")


@pytest.mark.parametrize(
    "flags", [rare(flags) for flags in itertools.product([False, True], repeat=3)]
)
def test_options(float64, rng, flags):
    cell, inputs, states = mixing(rng, LAYOUTS[sum(flags)])
    options = dict(zip(FLAGS, flags, strict=True))
    given = {"mask": HOLES, "training": True}
    ours, theirs = (
        call(kcells.RNN(cell, checkpoint=c, **options), inputs, states, **given) for c in (2, False)
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize("training", [False, rare(True)])
@pytest.mark.parametrize(("way", "compile"), COMPILED)
def test_nothing_is_trained(float64, rng, way, compile, training):
    """A gradient may be asked for outside of training too."""
    cell, inputs, states = mixing(rng)
    layers = [
        kcells.RNN(cell, return_state=True, checkpoint=c, compile=compile) for c in (True, False)
    ]
    given = {"mask": HOLES, "training": training}
    ours = call(layers[0], inputs, states, way, **given)
    assert_same(ours, call(layers[1], inputs, states, "eager", **given))


@pytest.mark.skipif("eager" not in WAYS, reason="about TensorFlow")
@pytest.mark.parametrize("checkpoint", BLOCKS)
def test_eagerly_nothing_is_saved_and_all_is_right(float64, rng, own_loops, checkpoint):
    cell, inputs, states = mixing(rng)
    ours, theirs = (
        call(kcells.RNN(cell, checkpoint=c), inputs, states, "eager", mask=HOLES)
        for c in (checkpoint, False)
    )
    assert not own_loops
    assert_same(ours, theirs)


@pytest.mark.skipif("eager" not in WAYS, reason="about TensorFlow")
@pytest.mark.parametrize("compile", ["never", rare("auto")])
@pytest.mark.parametrize("checkpoint", [True, *map(rare, (1, 5, 1000))])
def test_unknown_length(float64, rng, own_loops, checkpoint, compile):
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, 2), "float64")]
    cell = kcells.cell("gru", 3)
    layer = kcells.RNN(cell, return_sequences=True, checkpoint=checkpoint, compile=compile)
    plain = kcells.RNN(cell, return_sequences=True, compile="never")
    for length in (1, 16, 40):
        x = rng.normal(size=(BATCH, length, 2))
        ours = call(layer, x, signature=signature, training=True)
        assert_same(ours, call(plain, x, way="eager", training=True))
    assert len(own_loops) == 3


# -- What is drawn


class Noisy(kcells.Cell):
    """Draws random numbers at every step, and counts the steps."""

    state_size = output_size = 3

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(4)

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 3), initializer="ones")
        self.count = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, inputs, states, training=False):
        self.count.assign(self.count + 1.0)
        noise = keras.random.normal(ops.shape(states[0]), seed=self.seed_generator)
        h = ops.tanh(ops.matmul(inputs, self.kernel) * noise + 0.5 * states[0])
        return h, [h]


@pytest.mark.parametrize("masked", [True, rare(False)], ids=["masked", ""])
@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize("checkpoint", BLOCKS)
def test_random_numbers_at_every_step(float64, rng, checkpoint, way, masked):
    x = rng.normal(size=(BATCH, TIME, 2))
    results, seeds, counts = [], [], []
    for c in (checkpoint, False):
        cell = Noisy()
        layer = kcells.RNN(cell, return_sequences=True, checkpoint=c)
        layer.build(x.shape)
        arguments = {"way": way, "mask": HOLES if masked else None, "training": True}
        # Twice: the second call starts from what the first one left.
        results.append([call(layer, x, **arguments) for _ in range(2)])
        seeds.append(ops.convert_to_numpy(cell.seed_generator.state.value))
        counts.append(float(ops.convert_to_numpy(cell.count)))
    for ours, theirs in zip(*results, strict=True):
        assert_same(ours, theirs)
    assert np.abs(results[0][0][0][0] - results[0][1][0][0]).max() > 1e-3
    assert counts == [2 * TIME] * 2
    np.testing.assert_array_equal(*seeds)


CELLS_THAT_DROP = {
    "lstm of keras": lambda: keras.layers.LSTMCell(3, dropout=0.4, recurrent_dropout=0.3, seed=5),
    "gru of keras": lambda: keras.layers.GRUCell(3, dropout=0.4, recurrent_dropout=0.3, seed=5),
    "inputs alone": lambda: keras.layers.SimpleRNNCell(3, dropout=0.4, seed=5),
    "ln_gru": lambda: kcells.cell("ln_gru", 3, dropout=0.4, recurrent_dropout=0.3, seed=5),
    "stack": lambda: kcells.StackedCells(
        [
            keras.layers.GRUCell(3, dropout=0.4, recurrent_dropout=0.3, seed=5),
            kcells.cell("ln_gru", 3, dropout=0.4, seed=6),
        ]
    ),
}


@pytest.mark.parametrize(("way", "compile"), COMPILED)
@pytest.mark.parametrize(
    "kind",
    ["lstm of keras", *map(rare, ("gru of keras", "inputs alone", "ln_gru", "stack"))],
)
def test_dropout(float64, rng, own_loops, backend, kind, way, compile):
    x = rng.normal(size=(BATCH, TIME, 2))
    results, seeds = [], []
    for c in (3, False):
        keras.utils.set_random_seed(1)
        cell = CELLS_THAT_DROP[kind]()
        layer = kcells.RNN(cell, return_sequences=True, checkpoint=c, compile=compile)
        layer.build(x.shape)
        results.append(call(layer, x, way=way, mask=HOLES, training=True))
        seeds.append([ops.convert_to_numpy(v.value) for v in cell.non_trainable_variables])
    assert_same(*results)
    for one, other in zip(*seeds, strict=True):
        np.testing.assert_array_equal(one, other)
    again = call(layer, x, way=way, mask=HOLES, training=False)
    assert np.abs(again[0][0] - results[0][0][0]).max() > 1e-3


@pytest.mark.parametrize("policy", [rare("mixed_bfloat16")])
def test_mixed_precision(rng, policy):
    keras.config.set_dtype_policy(policy)
    cell = kcells.cell("gru", 3)
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    ours, theirs = (
        call(kcells.RNN(cell, return_sequences=True, checkpoint=c), x, mask=HOLES, training=True)
        for c in (True, False)
    )
    assert_same(ours, theirs, 0.06)


@pytest.mark.parametrize("dropout", [rare(0.2)])
def test_stateful_and_fit(rng, dropout):
    """Epochs of training with an optimizer come to the same weights."""
    x = rng.normal(size=(16, TIME, 2)).astype("float32")
    histories = []
    for checkpoint in (True, False):
        keras.utils.set_random_seed(1)
        layer = kcells.build(
            "ln_gru", 3, stateful=True, dropout=dropout, seed=3, checkpoint=checkpoint
        )
        model = keras.Sequential(
            [keras.Input(batch_shape=(4, TIME, 2)), layer, keras.layers.Dense(1)]
        )
        model.compile("adam", "mse")
        fitted = model.fit(x, x.sum((1, 2)), batch_size=4, epochs=3, shuffle=False, verbose=0)
        histories.append(fitted.history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)


# -- It does save


def kept_on_tensorflow(layer, length, monkeypatch):
    """How many states the forward program writes down."""
    import tensorflow as tf

    from kcells.engine.backends import tensorflow_own_loop

    made = []
    real = tensorflow_own_loop.OwnLoop.run
    with monkeypatch.context() as patch:
        patch.setattr(
            tensorflow_own_loop.OwnLoop, "run", lambda self: (made.append(self), real(self))[1]
        )
        call(layer, np.zeros((2, length, 1), "float32"), training=True)
    (loop,) = made
    traced = loop._with_states.traced
    given = [
        tf.zeros([length if d is None else d for d in s.shape], s.dtype)
        for s in tf.nest.flatten(traced.structured_input_signature[0])
    ]
    given[0] = tf.constant(length)
    _, _, states = traced(*given)
    return max(len(s) for s in states)


def kept_on_jax(layer, length, monkeypatch):
    """The bytes that the compiled gradient needs besides what goes in and out."""
    import jax

    def loss(values, x):
        with keras.StatelessScope(list(zip(layer.trainable_variables, values, strict=True))):
            return ops.sum(layer(x, training=True))

    values = [v.value for v in layer.trainable_variables]
    x = jax.numpy.zeros((2, length, 1), "float32")
    compiled = jax.jit(jax.grad(loss)).lower(values, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def kept_on_torch(layer, length, monkeypatch):
    """The numbers that are kept for the backward pass, each tensor once."""
    import torch

    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(torch.ones(2, length, 1))
    return sum(tensor.numel() for tensor in kept.values())


def test_it_saves(backend, monkeypatch):
    kept = {"tensorflow": kept_on_tensorflow, "jax": kept_on_jax, "torch": kept_on_torch}[backend]
    growth = {}
    for checkpoint in (False, True, 8):
        # On TensorFlow no other loop has its own backward pass without being compiled.
        compile = "never" if checkpoint else "auto"
        layer = kcells.RNN(keras.layers.GRUCell(32), checkpoint=checkpoint, compile=compile)
        layer.build((2, None, 1))
        short, long = (kept(layer, length, monkeypatch) for length in (64, 256))
        growth[checkpoint] = long / short, long
    assert growth[False][0] > 3.5, growth
    assert growth[True][0] < 2.5, growth
    assert max(growth[True][1], growth[8][1]) < growth[False][1] / 2, growth


# -- Beside other options


def test_a_kernel_keeps_all_steps():
    for name in ("lstm", "gru"):
        layer = kcells.build(name, 3, checkpoint=True)
        explained = kcells.explain(layer)
        assert explained.path == "loop"
        reasons = {r.condition: r for r in explained.reasons if not r.holds}
        assert reasons["the backward pass may keep all steps"].detail == "checkpoint=on"
    with pytest.raises(kcells.errors.DispatchError, match="checkpoint=on"):
        kcells.build("lstm", 3, checkpoint=2, dispatch="require")


def test_the_built_in_with_checkpoints(float64, rng):
    x = rng.normal(size=(BATCH, TIME, 2))
    layers = [kcells.build("lstm", 3, return_sequences=True, checkpoint=c) for c in (3, False)]
    for layer in layers:
        layer.build(x.shape)
    layers[1].set_weights(layers[0].get_weights())
    given = {"mask": HOLES, "training": True}
    assert_same(*(call(layer, x, **given) for layer in layers), 1e-9)


@pytest.mark.parametrize("way", map(rare, WAYS))
def test_a_linear_cell_with_checkpoints(float64, rng, way):
    x = rng.normal(size=(BATCH, TIME, 2))
    cell = kcells.cell("lru", 3)
    layers = [
        kcells.RNN(cell, return_sequences=True, **o)
        for o in ({"checkpoint": True}, {"checkpoint": 2, "parallel": "never"}, {})
    ]
    assert [layer._plan.path for layer in layers] == ["parallel", "loop", "parallel"]
    first, second, third = (call(layer, x, way=way, mask=HOLES, training=True) for layer in layers)
    assert_same(first, third)
    assert_same(second, third)


@pytest.mark.parametrize("steps", [rare(2)])
def test_both_directions(float64, rng, steps):
    x = rng.normal(size=(BATCH, TIME, 2))
    layers = [kcells.Bidirectional(kcells.build("ln_gru", 3, checkpoint=c)) for c in (steps, False)]
    for layer in layers:
        layer.build(x.shape)
    layers[1].set_weights(layers[0].get_weights())
    assert layers[0].backward_layer.checkpoint == steps
    assert_same(*(call(layer, x, mask=HOLES, training=True) for layer in layers))


# -- Checkpoints on PyTorch: what a layer inside of the cell finds around it


class Dropping(layers.Layer):
    """Has a layer inside that finds `training` by itself."""

    state_size = output_size = 4

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.dropout = layers.Dense(4), layers.Dropout(0.5, seed=1)

    def build(self, input_shape):
        self.dense.build((None, FEATURES + 4))

    def call(self, inputs, states):
        h = self.dropout(ops.tanh(self.dense(ops.concatenate([inputs, states[0]], axis=-1))))
        return h, [h]


class Told(Dropping):
    def call(self, inputs, states, training=False):
        h = ops.tanh(self.dense(ops.concatenate([inputs, states[0]], axis=-1)))
        h = self.dropout(h, training=training)
        return h, [h]


@on_torch
@pytest.mark.parametrize("kind", [Dropping, Told])
def test_checkpoints_with_a_layer_that_drops(float64, rng, kind):
    x = sequences(rng, "float64")
    results, seeds = [], []
    for checkpoint in (3, False):
        keras.utils.set_random_seed(1)
        layer = kcells.RNN(kind(), return_sequences=True, checkpoint=checkpoint)
        layer.build(x.shape)
        results.append(call(layer, x, training=True))
        seeds.append(layer.cell.dropout.seed_generator.state)
    assert_same(*results)
    close(*seeds, 0)
    assert 0.2 < np.mean(results[0][0][0] == 0.0) < 0.8
