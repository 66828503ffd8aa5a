"""Corners of the fast paths that a review found broken."""

import keras
import numpy as np
import pytest
from keras import layers, ops, tree
from linear_cells import FEATURES, KINDS, Constant, Gated
from ways import assert_same, call, rare

import kcells
from kcells.engine import plan
from kcells.engine.facts import CellFacts, LayerFacts
from kcells.engine.kernels import Machine

BATCH, TIME = 3, 6
BACKEND = keras.backend.backend()
on_tensorflow, on_jax, on_torch = (
    pytest.mark.skipif(name != BACKEND, reason=f"about {name}")
    for name in ("tensorflow", "jax", "torch")
)


def built(cell):
    cell.build((None, FEATURES))
    cell.built = True
    return cell


def numbers(structure):
    return [ops.convert_to_numpy(leaf) for leaf in tree.flatten(structure)]


def close(ours, theirs, tolerance=1e-10):
    for a, b in zip(numbers(ours), numbers(theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def sequences(rng, dtype="float32", batch=BATCH):
    return rng.normal(size=(batch, TIME, FEATURES)).astype(dtype)


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


# -- Exports of JAX


@on_jax
@pytest.mark.parametrize("checkpoint", [True, False])
def test_symbolic_batch_and_time(rng, checkpoint):
    import jax
    from jax import export

    layer = kcells.RNN(
        layers.SimpleRNNCell(5), return_sequences=True, checkpoint=checkpoint, dtype="float32"
    )
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    b, t = export.symbolic_shape("b, t")
    traced = export.export(jax.jit(lambda x: model(x)))(
        jax.ShapeDtypeStruct((b, t, FEATURES), "float32")
    )
    for batch, time in ((3, 6), (1, 2)):
        x = rng.normal(size=(batch, time, FEATURES)).astype("float32")
        close(traced.call(x), layer(x), 1e-5)


# -- Graphs of TensorFlow


@on_tensorflow
@pytest.mark.parametrize("kind", [Gated, rare(Constant)])
@pytest.mark.parametrize("length", [TIME, None])
@pytest.mark.parametrize("masked", [False, True])
def test_uncompiled_in_a_model(rng, masked, length, kind):
    layer = kcells.RNN(kind(), compile="never")
    before = [layers.Masking()] if masked else []
    model = keras.Sequential([keras.Input((length, FEATURES)), *before, layer])
    model.compile("sgd", "mse")
    x = sequences(rng, batch=4)
    x[::2, 4:] = 0.0
    target = np.ones(model(x).shape, "float32")
    model.fit(x, target, batch_size=2, verbose=0)
    loop = kcells.RNN(layer.cell, parallel="never")
    mask = (x != 0.0).any(-1) if masked else None
    close(model.predict(x, verbose=0), loop(x, mask=mask), 1e-5)
    assert layer.plan.path == "parallel"


@on_tensorflow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("compile", ["never", "auto"])
def test_unknown_batch_and_time(rng, compile, sequences, kind):
    import tensorflow as tf

    cell = built(KINDS[kind]())
    options = {"return_sequences": sequences, "return_state": True}
    layer = kcells.RNN(cell, compile=compile, **options)
    loop = kcells.RNN(cell, parallel="never", **options)

    def float32(array):
        return tf.constant(array, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None, FEATURES))])
    def bare(x):
        return layer(x)

    x = float32(rng.normal(size=(BATCH, TIME, FEATURES)))
    close(bare(x), loop(x), 1e-5)
    states = tree.map_structure(float32, cell.packed(cell.random_states(rng, BATCH)))
    specs = [tf.TensorSpec((None, *s.shape[1:])) for s in tree.flatten(states)]

    @tf.function(input_signature=[tf.TensorSpec((None, None, FEATURES)), *specs])
    def started(x, *leaves):
        return layer(x, initial_state=tree.pack_sequence_as(states, list(leaves)))

    close(started(x, *tree.flatten(states)), loop(x, initial_state=states), 1e-5)
    # No step at all: nothing comes out, and the states stay.
    outputs, *after = started(x[:, :0], *tree.flatten(states))
    like, *_ = loop(x[:, :0], initial_state=states)
    assert not any(leaf.any() for leaf in numbers(outputs))
    assert [leaf.shape for leaf in numbers(outputs)] == [leaf.shape for leaf in numbers(like)]
    close(after, list(states) if isinstance(states, list) else [states], 0)


class Noisy(layers.Layer):
    """Draws numbers at every step."""

    state_size = output_size = FEATURES

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, inputs, states):
        h = inputs + 0.5 * states[0]
        return h + keras.random.normal(ops.shape(h), seed=self.seed_generator), [h]


@on_tensorflow
def test_an_obstacle_in_a_stack(rng):
    layer = kcells.RNN([Noisy(), Gated()])
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    x, target = sequences(rng, batch=4), np.ones((4, 1), "float32")
    losses = model.fit(x, target, epochs=2, batch_size=2, verbose=0).history["loss"]
    first, second = (model.predict(x, verbose=0) for _ in range(2))
    assert np.isfinite([*losses, model.evaluate(x, target, verbose=0)]).all()
    assert np.abs(first - second).max() > 1e-6
    assert "updates variables" in layer.obstacle
    noisy, linear = layer.plan.members
    assert (noisy.path, noisy.compiles) == ("loop", False)
    assert (linear.path, linear.compiles) == ("parallel", True)


@on_tensorflow
def test_second_derivatives_under_xla(float64, rng):
    import tensorflow as tf

    layer = kcells.RNN(layers.SimpleRNNCell(3), compile="never", return_sequences=True)
    x = tf.constant(sequences(rng, "float64"))
    layer.build((BATCH, TIME, FEATURES))

    def twice(x):
        sources = [*(v.value for v in layer.trainable_variables), x]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(tf.sin(layer(x)))
            found = inner.gradient(loss, sources)
            loss = sum(tf.reduce_sum(tf.sin(g)) for g in found)
        return found, outer.gradient(loss, sources)

    close(tf.function(twice, jit_compile=True)(x), twice(x))


# -- Subclasses of linear cells


class Scaled(Gated):
    def step(self, projected, states, training=False):
        outputs, states = super().step(projected, states, training=training)
        return 3.0 * outputs, states


class Looped(Gated):
    is_linear = False


class Late(Gated):
    def __init__(self, linear, **kwargs):
        super().__init__(**kwargs)
        self.linear = linear

    @property
    def is_linear(self):
        return self.linear


@pytest.mark.parametrize(
    ("kind", "path", "factor"),
    [
        (Scaled, "loop", 3.0),
        (Looped, "loop", 1.0),
        (lambda: Late(True), "parallel", 1.0),
        (lambda: Late(False), "loop", 1.0),
        (type("More", (Scaled,), {"linear_recurrence": Gated.linear_recurrence}), "parallel", 1.0),
    ],
    ids=["scaled", "looped", "late", "late and not", "linear again"],
)
def test_subclasses(float64, rng, kind, path, factor):
    x = sequences(rng, "float64")
    cell, plain = built(kind()), built(Gated())
    assert cell.is_linear == (path == "parallel")
    layer = kcells.RNN(cell, return_sequences=True)
    assert layer.plan.path == path
    close(layer(x), factor * kcells.RNN(plain, return_sequences=True)(x))


# -- torch.func


@on_torch
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [True, False])
def test_transforms_of_torch(float64, rng, kind, sequences):
    import torch

    cell = built(KINDS[kind]())
    many, tangent = (torch.tensor(rng.normal(size=(2, BATCH, TIME, FEATURES))) for _ in range(2))
    x, tangent = many[0], tangent[0]

    def found(parallel):
        layer = kcells.RNN(cell, return_sequences=sequences, parallel=parallel)
        assert (layer.plan.path == "parallel") == (parallel == "auto")

        def flat(x):
            return torch.cat([leaf.sin().flatten(1) for leaf in tree.flatten(layer(x))], -1)

        def loss(x):
            return flat(x).sum()

        return [
            torch.func.grad(loss)(x),
            torch.func.grad(lambda x: torch.func.grad(loss)(x).sin().sum())(x),
            torch.vmap(flat)(many),
            torch.vmap(flat, in_dims=-1)(many.movedim(0, -1)),
            torch.vmap(torch.func.grad(loss))(many),
            *torch.func.jvp(flat, (x,), (tangent,)),
            torch.func.jacrev(flat)(x),
            torch.func.jacfwd(flat)(x),
        ]

    close(found("auto"), found("never"))


@on_torch
@pytest.mark.parametrize("from_the_end", [False, True])
@pytest.mark.parametrize("batched", [0, 1, 2])
def test_one_argument_alone_in_the_scan_of_torch(batched, from_the_end):
    """It alone has the extra axis, or the tangent."""
    import torch

    from kcells.engine.backends.torch_linear import LinearScan

    torch.manual_seed(0)
    given = [torch.randn(s, dtype=torch.float64) for s in ((5, 2, 3), (5, 2, 3), (2, 3))]
    many = torch.randn((4, *given[batched].shape), dtype=torch.float64)

    def scan(one):
        arguments = [*given[:batched], one, *given[batched + 1 :]]
        return LinearScan.apply(*arguments, from_the_end)

    close(torch.vmap(scan)(many), torch.stack([scan(one) for one in many]))
    close(torch.vmap(scan, in_dims=1)(many.movedim(0, 1)), torch.vmap(scan)(many))

    def gradient(one):
        return torch.func.grad(lambda one: scan(one).sin().sum())(one)

    close(torch.vmap(gradient)(many), torch.stack([gradient(one) for one in many]))
    backwards, forwards = (f(scan)(many[0]) for f in (torch.func.jacrev, torch.func.jacfwd))
    close(backwards, forwards)


# -- Plans


@pytest.mark.parametrize(
    ("options", "path", "against"),
    [
        ({}, "parallel", None),
        ({"unroll": True}, "unrolled", "the loop is not to be written out"),
        ({"takes_constants": True}, "loop", "the coefficients depend on the inputs alone"),
        ({"tbptt": 2}, "loop", "the gradient goes back through all steps"),
        ({"parallel": "never"}, "loop", "all steps may be computed at once"),
    ],
    ids=str,
)
@pytest.mark.parametrize("machine", [Machine("tensorflow"), Machine("jax"), Machine("torch")])
def test_a_linear_cell_that_is_a_simple_rnn(machine, options, path, against):
    facts = CellFacts("simple_rnn", is_linear=True, splits_step=True)
    chosen = plan.choose(facts, LayerFacts("never", **options), machine)
    assert chosen.path == path
    if against is not None:
        assert against in [r.condition for r in chosen.reasons if not r.holds]


def test_stacks_that_do_more_than_run_their_cells(rng):
    class Halved(kcells.StackedCells):
        def step(self, projected, states, training=False):
            outputs, states = super().step(projected, states, training=training)
            return 0.5 * outputs, states

    x = sequences(rng)
    plain = kcells.RNN(kcells.StackedCells([Gated()]))
    assert len(plain.plan.members) == 1
    halved = kcells.RNN(Halved([plain.cell.cells[0]]))
    assert not halved.plan.members
    close(halved(x), 0.5 * ops.convert_to_numpy(plain(x)), 1e-5)


def test_a_stack_keeps_its_loss(rng):
    stack = kcells.StackedCells([Gated(), Bare()], activity_regularizer="l2")
    layer = kcells.RNN(stack, unroll=True)
    assert layer.plan.members == kcells.RNN(stack).plan.members == ()
    x = sequences(rng)
    layer(x)
    found = sum(map(float, numbers(layer.losses)))
    states, expected = [np.zeros((BATCH, 4), "float32")] * 2, 0.0
    for t in range(TIME):
        _, states = stack(x[:, t], states)
        expected += sum(map(float, numbers(stack.losses)))
    assert found == pytest.approx(expected, rel=1e-5)
    assert found > 0.0


@pytest.mark.parametrize("order", [(True, 1), (1, True), (False, 1), (1, False)], ids=str)
def test_the_explanation_of_a_checkpoint(order):
    """Plans are kept, and `True == 1`."""
    plan.choose.cache_clear()
    for checkpoint in order:
        layer = kcells.build("gru", 3, checkpoint=checkpoint)
        explained = kcells.explain(layer)
        reasons = {r.condition: r for r in explained.reasons}
        reason = reasons["the backward pass may keep all steps"]
        assert reason.holds == (not checkpoint)
        assert reason.detail == f"checkpoint={'on' if checkpoint else 'off'}"
        assert explained.path == ("loop" if checkpoint else "fused")


# -- What a cell says of itself


class Bare(kcells.Cell):
    """One state, and no lists around it."""

    state_size = output_size = 4

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 8), initializer="orthogonal")

    def project_inputs(self, inputs, training=False):
        return ops.split(ops.matmul(inputs, self.kernel), 2, axis=-1)

    def linear_recurrence(self, projected):
        a, b = projected
        return kcells.LinearRecurrence(ops.sigmoid(a), b, lambda h, p: h[0] + p[1])


@pytest.mark.parametrize("masked", [False, True])
def test_bare_coefficients(float64, rng, masked):
    cell, x = built(Bare()), sequences(rng, "float64")
    mask = rng.random((BATCH, TIME)) < 0.6 if masked else None
    options = {"return_sequences": True, "return_state": True}
    auto, never = (kcells.RNN(cell, parallel=p, **options) for p in ("auto", "never"))
    assert (auto.plan.path, never.plan.path) == ("parallel", "loop")
    assert_same(call(auto, x, mask=mask), call(never, x, mask=mask))


@pytest.mark.parametrize("kind", [Bare, Gated, Constant])
@pytest.mark.parametrize("sequences", [False, True])
def test_the_layer_of_keras(rng, kind, sequences):
    cell = built(kind())
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    options = {"return_sequences": sequences, "return_state": True}
    ours, theirs = (c(cell, **options) for c in (kcells.RNN, layers.RNN))
    close(ours(x), theirs(x), 1e-5)
    if kind is Gated:
        # On JAX, Keras fills masked steps with the state, which here is the output.
        mask = ops.convert_to_tensor(np.arange(TIME) < np.array([[6], [3], [1]]))
        close(ours(x, mask=mask), theirs(x, mask=mask), 1e-5)


WRONG = {
    "None": (lambda r: None, kcells.errors.CellError, "it returned NoneType"),
    "two": (lambda r: (r.a, r.b), kcells.errors.CellError, "it returned tuple"),
    "product": (
        lambda r: r._replace(product="complexx"),
        kcells.errors.CellError,
        "received 'complexx'",
    ),
    "leaves": (
        lambda r: r._replace(a=[r.a, r.a]),
        kcells.errors.StructureError,
        "a has another structure",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("parallel", ["auto", "never"])
def test_no_recurrence(rng, wrong, parallel):
    change, error, message = WRONG[wrong]

    class Mistaken(Bare):
        def linear_recurrence(self, projected):
            return change(super().linear_recurrence(projected))

    x = sequences(rng)
    match = rf"Mistaken\.linear_recurrence(.|\n)*{message}"
    with pytest.raises(error, match=match):
        kcells.RNN(Mistaken(), parallel=parallel)(x)
    cell = built(Mistaken())
    with pytest.raises(error, match=match):
        cell(x[:, 0], [np.zeros((BATCH, 4), "float32")])


def test_no_built_in_cuts_gradients():
    with pytest.raises(kcells.errors.DispatchError, match="tbptt=2"):
        kcells.to_builtin(kcells.build("gru", 3, tbptt=2))
