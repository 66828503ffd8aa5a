"""The loop that PyTorch compiles by itself: equal to the plain one, or not used at all.

Most tests leave out the compiler, which takes seconds for a program: what it gets are graphs, and
these run as they are. One test compiles them.
"""

import dataclasses
import gc
import threading
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops, tree
from mixing_cell import MixingCell, random_inputs, random_states

import kcells

if keras.backend.backend() != "torch":
    pytest.skip("about the PyTorch backend", allow_module_level=True)

import torch

from kcells.engine.backends import torch_blocks, torch_own_loop, torch_programs
from kcells.engine.thresholds import THRESHOLDS

BATCH, TIME = 4, 6
HOLES = np.array([[0, 1, 0, 1, 1, 0], [1, 0, 1, 1, 0, 1], [0] * 6, [1] * 6], bool)


@pytest.fixture
def loops(monkeypatch):
    """A list of the loops that ran as programs, which are not compiled."""
    made = []
    run = torch_own_loop.OwnLoop.run

    def noted(self, given):
        made.append(self)
        return run(self, given)

    monkeypatch.setattr(torch_own_loop.OwnLoop, "run", noted)
    monkeypatch.setattr(torch_blocks, "_compiled", lambda graph, example: graph)
    return made


def results_and_gradients(layer, inputs, sources=(), again=False, **arguments):
    """Everything that comes out of a call, and gradients, once more differentiated if asked."""
    leaves = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in tree.flatten(inputs)]
    results = tree.flatten(layer(tree.pack_sequence_as(inputs, leaves), **arguments))
    floats = [r for r in results if r.is_floating_point()]
    loss = sum((r.sin() * (k + 1)).sum() for k, r in enumerate(floats))
    watched = [v.value for v in layer.trainable_variables]
    watched += [x for x in leaves if x.requires_grad] + list(sources)
    gradients = torch.autograd.grad(
        loss, watched, retain_graph=True, create_graph=again, allow_unused=True
    )
    if again:
        used = [g for g in gradients if g is not None and g.requires_grad]
        loss = sum(g.sin().sum() for g in used)
        gradients += torch.autograd.grad(loss, watched, allow_unused=True)
    return [keras.ops.convert_to_numpy(x) for x in (*results, *map(_none_is_zero, gradients))]


def _none_is_zero(gradient):
    return torch.zeros(()) if gradient is None else gradient.detach()


def assert_same(ours, theirs, tolerance=1e-10):
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def pair(cell, **options):
    """Two layers around one cell, compiled and not."""
    return [kcells.RNN(cell, compile=compile, **options) for compile in ("always", "never")]


OPTIONS = [
    {},
    {"go_backwards": True, "return_sequences": True},
    {"return_sequences": True, "zero_output_for_mask": True, "return_state": True},
    {"return_all_states": True, "tbptt": 2},
    {"checkpoint": 3, "return_sequences": True},
    {"checkpoint": True, "return_state": True},
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_structures_and_options(float64, loops, rng, options, masked):
    inputs, initial = random_inputs(rng, BATCH, TIME), random_states(rng, BATCH)
    given = {"initial_state": initial, "mask": HOLES if masked else None}
    ours, theirs = (
        results_and_gradients(layer, inputs, again="tbptt" not in options, **given)
        for layer in pair(MixingCell(), **options)
    )
    assert len(loops) == 1
    assert_same(ours, theirs)


def test_resets_and_a_trained_initial_state(float64, loops, rng):
    both = pair(MixingCell(), return_sequences=True, train_initial_state=True)
    inputs = random_inputs(rng, BATCH, TIME)
    both[0](tree.map_structure(torch.tensor, inputs))
    both[1](tree.map_structure(torch.tensor, inputs))
    for variable in [v for layer in both for v in layer.trainable_variables[-2:]]:
        variable.assign(variable + 0.3)
    loops.clear()
    ours, theirs = (results_and_gradients(layer, inputs, reset=HOLES) for layer in both)
    assert len(loops) == 1
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["lstm", "ln_gru", "mlstm", "conv_lstm"])
def test_dropout_draws_the_same_masks(loops, rng, name):
    options = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 5}
    if name == "conv_lstm":
        options = {"kernel_size": 3, **options}
    shape = (BATCH, TIME, 5, 2) if name == "conv_lstm" else (BATCH, TIME, 2)
    x = rng.normal(size=shape).astype("float32")
    results = []
    for compile in ("always", "never"):
        layer = kcells.build(
            name, 3, compile=compile, return_sequences=True, dispatch="never", **options
        )
        layer.build(x.shape)
        for k, weight in enumerate(layer.trainable_weights):
            weight.assign(np.random.default_rng(k).normal(size=weight.shape))
        results.append([results_and_gradients(layer, x, training=True) for _ in range(2)])
    assert len(loops) == 2
    assert_same(*([leaf for call in side for leaf in call] for side in results), tolerance=1e-4)


def test_half_precision(loops, rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = rng.normal(size=(BATCH, TIME, 2)).astype("float32")
    both = pair(kcells.cell("ln_gru", 3), return_sequences=True)
    ours, theirs = (results_and_gradients(layer, x, mask=HOLES) for layer in both)
    assert len(loops) == 1
    assert_same(ours, theirs, 0.05)


# -- What else may come into a step


@keras.saving.register_keras_serializable(package="kcells-tests")
class CountingOnTorch(layers.Layer):
    """Looks tokens up, counts them, and hands on a state that no step changes."""

    @property
    def state_size(self):
        return {"sum": 3, "count": 1, "kept": 2}

    def build(self, input_shape):
        self.table = self.add_weight(shape=(7, 3), name="table")

    def get_initial_state(self, batch_size=None):
        return {
            "sum": ops.zeros((batch_size, 3)),
            "count": ops.zeros((batch_size, 1), "int32"),
            "kept": ops.ones((batch_size, 2)),
        }

    def call(self, inputs, states):
        looked_up = ops.take(self.table, inputs[:, 0], axis=0)
        total, count = states["sum"] * 0.9 + looked_up, states["count"] + inputs
        new = {"sum": total, "count": count, "kept": states["kept"]}
        return {"sum": ops.tanh(total), "count": count}, new


def test_integers_and_states_that_stay(loops, rng):
    both = pair(CountingOnTorch(), return_sequences=True, return_state=True)
    tokens = rng.integers(0, 7, (BATCH, TIME, 1)).astype("int32")
    initial = {
        "sum": np.ones((BATCH, 3)),
        "count": np.ones((BATCH, 1)),
        "kept": np.ones((BATCH, 2)),
    }
    initial = tree.map_structure(lambda x: torch.tensor(x, dtype=torch.float32), initial)
    initial["count"] = initial["count"].int()
    for leaf in (initial["sum"], initial["kept"]):
        leaf.requires_grad_()
    given = {"initial_state": initial, "sources": [initial["sum"], initial["kept"]]}
    ours, theirs = (results_and_gradients(layer, tokens, **given) for layer in both)
    assert len(loops) == 1
    assert_same(ours, theirs, 1e-6)


class Remembering(kcells.Cell):
    """Reads a memory that the whole sequence shares, and adds a loss at every step."""

    state_size = output_size = 2

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 2), initializer="ones")
        self.unused = self.add_weight(shape=(2,), initializer="ones")

    def call(self, inputs, states, constants=None):
        memory, rows = constants
        looked_at = ops.mean(memory, axis=1) * ops.cast(rows, memory.dtype)
        h = ops.tanh(ops.matmul(inputs, self.kernel) + states[0] * looked_at)
        self.add_loss(ops.mean(h) * 0.1)
        return h, [h]


def test_constants_and_losses(float64, loops, rng):
    memory = torch.tensor(rng.normal(size=(BATCH, 3, 2)), requires_grad=True)
    rows = torch.tensor(rng.integers(0, 3, (BATCH, 1)))
    x = rng.normal(size=(BATCH, TIME, 2))
    found = []
    for layer in pair(Remembering()):
        # Views, as from a layer before.
        given = {"constants": (memory * 1.0, rows), "sources": [memory]}
        found.append(results_and_gradients(layer, x, **given))
        (loss,) = layer.losses
        (gradient,) = torch.autograd.grad(loss, [memory])
        found[-1] += [loss.detach().numpy(), gradient.numpy()]
    assert len(loops) == 1
    assert_same(*found)


class Twice(kcells.Cell):
    """Tells two things apart that may be one tensor."""

    state_size = output_size = 2

    def call(self, inputs, states, constants=None):
        one, other = constants["one"], constants["other"]
        h = ops.tanh(inputs * one + states[0] * 3.0 * other)
        return h, [h]


def test_constants_that_are_one_tensor(float64, loops, rng):
    one, other = (torch.tensor(rng.normal(size=(BATCH, 2)), requires_grad=True) for _ in range(2))
    x = rng.normal(size=(BATCH, TIME, 2))
    ours, theirs = pair(Twice())
    for second in (one, other, one):
        given = {"constants": {"one": one, "other": second}, "sources": [one, other]}
        assert_same(*(results_and_gradients(layer, x, **given) for layer in (ours, theirs)))
    assert len(loops) == 3
    assert len({id(loop) for loop in loops}) == 2


def test_checkpoints_go_by_the_length_of_a_call(float64, loops):
    ours, theirs = pair(kcells.cell("ln_gru", 3), checkpoint=True)
    for length in (4, 40):
        x = rng_of(length).normal(size=(BATCH, length, 2))
        assert_same(*(results_and_gradients(layer, x) for layer in (ours, theirs)))
    assert loops[0] is loops[1]
    assert [len(list(loops[0].stretches(length))) for length in (4, 40, 400)] == [1, 5, 20]


def rng_of(seed):
    return np.random.default_rng(seed)


def test_a_frozen_layer(float64, loops, rng):
    both = pair(kcells.cell("ln_gru", 3))
    x = rng.normal(size=(BATCH, TIME, 2))
    for layer in both:
        layer.build(x.shape)
        layer.trainable = False
    assert_same(*(results_and_gradients(layer, x) for layer in both))
    assert len(loops) == 1


def test_many_gradients_at_once(float64, loops, rng, monkeypatch):
    """`is_grads_batched=True` gives gradients an extra axis, for which no program was made."""
    monkeypatch.setattr(torch_own_loop.OwnLoop, "back", None)
    x = torch.tensor(rng.normal(size=(BATCH, TIME, 2)), requires_grad=True)
    found = []
    for layer in pair(kcells.cell("ln_gru", 3)):
        y = layer(x)
        many = torch.eye(y.numel(), dtype=y.dtype).reshape(-1, *y.shape)
        found += torch.autograd.grad(y, x, many, is_grads_batched=True)
    assert len(loops) == 1
    torch.testing.assert_close(*found)


# -- One program for many calls


def test_a_program_serves_every_length_and_new_weights(float64, loops, rng, monkeypatch):
    traces = []
    traced = torch_programs.traced_step
    monkeypatch.setattr(
        torch_programs, "traced_step", lambda *args: traces.append(1) or traced(*args)
    )
    ours, theirs = pair(kcells.cell("ln_gru", 3), return_sequences=True)
    for length in (7, 4, 13):
        x = torch.tensor(rng.normal(size=(BATCH, length, 2)))
        torch.testing.assert_close(ours(x), theirs(x))
        weight = ours.trainable_variables[0]
        weight.assign(weight * 0.9)
    assert len(traces) == 1
    assert len(loops) == 3


def test_programs_go_with_their_layer(loops):
    layer = kcells.RNN(kcells.cell("ln_gru", 3), compile="always")
    layer(torch.zeros(BATCH, TIME, 2))
    cell = layer._bound
    assert cell in torch_programs._KINDS
    gone = weakref.ref(cell)
    loops.clear()
    del cell, layer
    gc.collect()
    assert gone() is None


def test_a_changed_attribute_is_another_program(loops, rng):
    cell = keras.layers.SimpleRNNCell(3)
    ours, theirs = pair(cell)
    x = torch.tensor(rng.normal(size=(BATCH, TIME, 2)).astype("float32"))
    for activation in ("tanh", "relu", "tanh"):
        cell.activation = keras.activations.get(activation)
        torch.testing.assert_close(ours(x), theirs(x))
    assert len(loops) == 3


def test_there_is_an_end_to_programs(loops, rng):
    layer = kcells.RNN(keras.layers.SimpleRNNCell(3), compile="always")
    for batch in range(1, torch_programs._MOST_PROGRAMS + 3):
        layer(torch.zeros(batch, TIME, 2))
    assert len(loops) == torch_programs._MOST_PROGRAMS
    (reason,) = (r for r in layer._plan.reasons if r.condition == "the step can be compiled")
    assert not reason.holds
    assert "8 programs" in reason.detail


def test_it_is_compiled_when_it_has_run_for_long(loops, rng, monkeypatch):
    layer = kcells.RNN(keras.layers.SimpleRNNCell(3))
    x = torch.zeros(BATCH, TIME, 2)
    layer(x)
    layer(x)
    assert not loops
    soon = dataclasses.replace(THRESHOLDS, torch_compile_seconds=1e-9)
    monkeypatch.setattr(torch_programs, "THRESHOLDS", soon)
    layer(x)
    assert len(loops) == 1
    layer(x)
    assert len(loops) == 2


def test_threads_share_a_program(float64, loops, rng):
    ours, theirs = pair(kcells.cell("ln_gru", 3))
    x = torch.tensor(rng.normal(size=(BATCH, TIME, 2)))
    wanted, found = theirs(x), []
    threads = [threading.Thread(target=lambda: found.append(ours(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(loop) for loop in loops}) == 1
    assert len(found) == 4
    for y in found:
        torch.testing.assert_close(y, wanted)


# -- What keeps a loop from being compiled


class Reaching(kcells.Cell):
    """A cell whose step does something that a subclass says."""

    state_size = output_size = 2
    outside = None

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 2), initializer="ones")

    def call(self, inputs, states):
        h = ops.tanh(ops.matmul(inputs, self.kernel) + self.more(states[0]))
        return h, [h]


class ReachesOut(Reaching):
    def more(self, state):
        return self.outside * state


class HasSeed(Reaching):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)


class Random(HasSeed):
    def more(self, state):
        return state + keras.random.normal((2,), seed=self.seed_generator)


class RandomOfTorch(Reaching):
    def more(self, state):
        return state + torch.rand(2)


class Looks(Reaching):
    def more(self, state):
        return state * (2.0 if state.sum() > 0 else 0.5)


class InNumPy(Reaching):
    def more(self, state):
        return state + torch.tensor(state.detach().numpy() * 0.5)


class InPlace(Reaching):
    def more(self, state):
        with torch.no_grad():
            state[:, 0].mul_(0.5)
        return state


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class OwnGradient(Reaching):
    def more(self, state):
        return Straight.apply(state + 0.1)


@pytest.mark.parametrize(
    ("kind", "outside", "obstacle"),
    [
        (ReachesOut, lambda: torch.tensor(0.5, requires_grad=True), "reaches for a tensor"),
        (ReachesOut, lambda: torch.tensor(0.5, requires_grad=True) * 1, "reaches for a tensor"),
        (Random, lambda: None, "updates variables"),
        (RandomOfTorch, lambda: None, "draws random numbers"),
        (Looks, lambda: None, "get value out of a tracing tensor"),
        (InNumPy, lambda: None, "other numbers"),
        (InPlace, lambda: None, "in place"),
        (OwnGradient, lambda: None, "a gradient of its own"),
    ],
)
def test_the_plain_loop_where_a_graph_would_be_another_step(loops, rng, kind, outside, obstacle):
    cell = kind()
    cell.outside = outside()
    layer = kcells.RNN(cell, compile="always", return_sequences=True)
    layer(torch.tensor(rng.normal(size=(BATCH, TIME, 2)).astype("float32")))
    assert not loops
    assert obstacle in layer._met.obstacle
    (reason,) = (r for r in layer._plan.reasons if r.condition == "the step can be compiled")
    assert not reason.holds


def test_a_tensor_that_a_step_reaches_for_may_change(loops, rng):
    cell = ReachesOut()
    ours, theirs = pair(cell)
    x = torch.tensor(rng.normal(size=(BATCH, TIME, 2)).astype("float32"))
    for value in (0.5, 2.0):
        cell.outside = torch.tensor(value)
        torch.testing.assert_close(ours(x), theirs(x))
        cell.outside.mul_(3.0)
        torch.testing.assert_close(ours(x), theirs(x))
    assert len(loops) == 4


def test_around_the_loop_that_is_not_compiled(loops):
    layer = kcells.RNN(keras.layers.SimpleRNNCell(3), compile="always")
    x = torch.zeros(BATCH, TIME, 2)
    layer.build(x.shape)
    torch.vmap(layer)(x[None])
    torch.jit.trace(layer, x, check_trace=False)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    assert not loops


def test_in_a_model_that_is_compiled(loops, rng):
    """The loop stays one of its own: written out it would take minutes to compile."""
    layer = kcells.RNN(keras.layers.SimpleRNNCell(3))
    x = torch.tensor(rng.normal(size=(BATCH, TIME, 2)).astype("float32"))
    wanted = layer(x)
    found = torch.compile(lambda x: layer(x) * 2.0, backend="eager")(x)
    torch.testing.assert_close(found, wanted * 2.0)
    assert len(loops) == 1


def test_a_compiler_that_fails_is_an_obstacle(monkeypatch, rng):
    def fails(*args, **kwargs):
        def program(*leaves):
            raise RuntimeError("no C++ compiler\nhere")

        return program

    monkeypatch.setattr(torch, "compile", fails)
    ours, theirs = pair(keras.layers.SimpleRNNCell(3))
    x = torch.tensor(rng.normal(size=(BATCH, TIME, 2)).astype("float32"))
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours._met.obstacle == "torch.compile: RuntimeError: no C++ compiler"


# -- Compiled


@pytest.mark.slow
def test_compiled(rng):
    """With the compiler itself: results, gradients, and a length that is no whole of blocks."""
    both = pair(keras.layers.GRUCell(3), return_sequences=True, return_state=True)
    programs = torch._dynamo.utils.counters["stats"]
    programs.clear()
    for length in (TIME, 9, 5, 12):
        x = rng.normal(size=(BATCH, length, 2)).astype("float32")
        ours, theirs = (results_and_gradients(layer, x) for layer in both)
        assert not both[0]._met.obstacle
        assert_same(ours, theirs, 1e-4)
        # Ahead and back: a program that depended on the length would be one more at each.
        assert programs["unique_graphs"] == 2
