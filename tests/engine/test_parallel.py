"""All steps at once: equal to the loop, to the unrolled loop and to a loop in NumPy."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from calls_and_gradients import MORE_WAYS, WAYS, assert_same, call, rare
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops, tree
from linear_cells import FEATURES, KINDS, Gated, Structured, Turning
from numpy_loop import flat, run

import kcells
from kcells.engine import backends, parallel

BATCH, TIME = 4, 6
MASKS = {
    "none": None,
    "random": np.random.default_rng(3).random((BATCH, TIME)) < 0.6,
    "empty rows": np.array(
        [[0] * 6, [1, 1, 1, 0, 0, 0], [0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0]], bool
    ),
    "all valid": np.ones((BATCH, TIME), bool),
}
FLAGS = ("go_backwards", "return_sequences", "zero_output_for_mask")


def built(kind, **options):
    cell = KINDS[kind](**options) if isinstance(kind, str) else kind(**options)
    cell.build((None, FEATURES))
    cell.built = True
    return cell


def numbers(structure):
    return [ops.convert_to_numpy(leaf) for leaf in tree.flatten(structure)]


def close(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture
def scans(monkeypatch):
    """How often all steps were computed at once."""
    calls = []
    real = parallel.run
    monkeypatch.setattr(parallel, "run", lambda *a: (calls.append(a[0].cell.name), real(*a))[1])
    return calls


@pytest.mark.parametrize(
    ("mask", "explicit"),
    [
        ("none", True),
        ("random", False),
        ("empty rows", True),
        *(rare(*x) for x in (("none", False), ("random", True), ("empty rows", False))),
        rare("all valid", True),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_a_numpy_loop(float64, rng, scans, kind, mask, explicit):
    cell, given = built(kind), MASKS[mask]
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    states = cell.random_states(rng, BATCH)
    if not explicit:
        states = {key: np.zeros_like(value) for key, value in states.items()}
    for values in itertools.product([False, True], repeat=3):
        options = dict(zip(FLAGS, values, strict=True))
        layer = kcells.RNN(cell, return_state=True, **options)
        initial = cell.packed(states) if explicit else None
        got = numbers(layer(x, initial_state=initial, mask=given))
        sequences = options.pop("return_sequences")
        every, last, after = run(cell.numpy_step(), {"x": x}, states, given, **options)
        close(got, flat(every if sequences else last) + flat(after))
    bare = kcells.RNN(cell, return_sequences=sequences, **options)
    close(numbers(bare(x, initial_state=initial, mask=given)), got[: len(flat(last))])
    assert len(scans) == 9


@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize(
    ("mask", "flags"),
    [
        ("random", (True, True, True)),
        ("empty rows", (True, False, False)),
        rare("none", (False, True, False)),
        rare("none", (True, False, False)),
        rare("empty rows", (False, True, False)),
        rare("random", (False, False, True)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_a_loop(float64, rng, scans, kind, mask, flags, way):
    cell = built(kind)
    options = {"return_state": True, **dict(zip(FLAGS, flags, strict=True))}
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    states = cell.packed(cell.random_states(rng, BATCH))
    given = {"mask": MASKS[mask], "way": way}
    at_once = call(kcells.RNN(cell, **options), x, states, **given)
    assert len(scans) == 1
    given["way"] = "eager"
    if way == "graph":
        assert_same(
            at_once, call(kcells.RNN(cell, parallel="never", **options), x, states, **given)
        )
    else:
        assert_same(at_once, call(kcells.RNN(cell, unroll=True, **options), x, states, **given))
    assert len(scans) == 1


@pytest.mark.parametrize("kind", ["turning", rare("structured")])
def test_written_out(float64, rng, scans, kind):
    """Both loops and all at once, on every backend."""
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    cell = built(kind)
    states = cell.packed(cell.random_states(rng, BATCH))
    results = [
        call(kcells.RNN(cell, return_sequences=True, **o), x, states, mask=MASKS["random"])
        for o in ({}, {"parallel": "never"}, {"unroll": True})
    ]
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])
    assert len(scans) == 1


def test_gradients_are_differences(float64, rng, derivative):
    """Not only equal to each other: to differences of the loop in NumPy."""
    cell = built("turning")
    x, states = rng.normal(size=(2, 4, FEATURES)), cell.random_states(rng, 2)
    mask = np.array([[1, 0, 1, 1], [1, 1, 0, 0]], bool)

    def loss():
        every, _, after = run(cell.numpy_step(), {"x": x}, states, mask)
        results = enumerate(flat(every) + flat(after))
        return sum(np.sin((k + 1.5) * r).sum() for k, r in results)

    layer = kcells.RNN(cell, return_sequences=True, return_state=True)
    _, found = call(layer, x, cell.packed(states), mask=mask)
    for got, array in zip(found[-2:], (x, states["h"]), strict=True):
        entries = np.eye(array.size).reshape(-1, *array.shape)
        wanted = [derivative(loss, array, entry) for entry in entries]
        np.testing.assert_allclose(np.ravel(got), wanted, rtol=1e-6, atol=1e-7)


# -- Lengths, and the branches of each backend


@pytest.fixture(params=["usual", "other"])
def branch(request, monkeypatch, backend):
    """Where a backend has two ways to compute the scan, each of them."""
    if request.param == "other":
        if backend == "tensorflow":
            pytest.skip("TensorFlow chooses by what is around it")
        module = backends.current()
        if backend == "jax":
            monkeypatch.setattr(module, "device", lambda tensor=None: "gpu")
        else:
            from kcells.engine.backends import torch_linear

            other = dataclasses.replace(torch_linear.THRESHOLDS, torch_blocks=0)
            monkeypatch.setattr(torch_linear, "THRESHOLDS", other)
    return request.param


@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize("length", [1, 7, rare(2), rare(3), rare(50)])
@pytest.mark.parametrize("kind", [Turning, rare(Gated)])
def test_lengths(float64, rng, branch, kind, length, way):
    cell = built(kind)
    x = rng.normal(size=(BATCH, length, FEATURES))
    mask = rng.random((BATCH, length)) < 0.7
    states = cell.random_states(rng, BATCH)
    layer = kcells.RNN(cell, return_sequences=True, return_state=True)
    assert layer._plan.path == "parallel"
    got, found = call(layer, x, cell.packed(states), way, mask=mask)
    every, _, after = run(cell.numpy_step(), {"x": x}, states, mask)
    close(got, flat(every) + flat(after))
    loop = kcells.RNN(cell, return_sequences=True, return_state=True, parallel="never")
    assert_same((got, found), call(loop, x, cell.packed(states), "eager", mask=mask))


@pytest.mark.parametrize("kind", KINDS)
def test_length_zero(rng, kind):
    cell = built(kind)
    states = tree.map_structure(
        lambda s: s.astype("float32"), cell.packed(cell.random_states(rng, 2))
    )
    x = np.zeros((2, 0, FEATURES), "float32")
    both = [
        numbers(kcells.RNN(cell, return_sequences=s, return_state=True)(x, initial_state=states))
        for s in (False, True)
    ]
    outputs = len(both[0]) - len(tree.flatten(states))
    assert all((leaf == 0).all() for leaf in both[0][:outputs])
    assert all(leaf.shape[:2] == (2, 0) for leaf in both[1][:outputs])
    for got in both:
        close(got[outputs:], tree.flatten(states))


class Raw(kcells.Cell):
    """The coefficients are the inputs."""

    state_size = {"a": 2, "z": (1, 2)}  # noqa: RUF012

    def __init__(self, product, **kwargs):
        super().__init__(**kwargs)
        self.product = product

    def linear_recurrence(self, projected):
        a, b = projected["a"], projected["b"]
        a, b = ({"a": x, "z": ops.expand_dims(x, -2)} for x in (a, b))
        return kcells.LinearRecurrence(
            a, b, lambda h, p: h["a"] + p["b"] - h["z"][..., 0, :], self.product
        )


few = settings(
    max_examples=100 if keras.backend.backend() == "torch" else 8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@few
@given(st.data())
def test_any_coefficients_masks_and_lengths(float64, data):
    """Also where coefficients are zero, above one or negative."""
    length = data.draw(st.integers(1, 20), "length")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    product = data.draw(st.sampled_from(["elementwise", "complex"]))
    mask = rng.random((2, length)) < data.draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]), "valid")
    backwards = data.draw(st.booleans(), "go_backwards")
    a, b = rng.normal(size=(2, 2, length, 2))
    a[rng.random(a.shape) < data.draw(st.sampled_from([0.0, 0.5]), "zeros")] = 0.0
    first = rng.normal(size=(2, 2))

    def step(inputs, states):
        h = states["a"]
        if product == "complex":
            new = complex(*inputs["a"]) * complex(*h) + complex(*inputs["b"])
            h = np.array([new.real, new.imag])
        else:
            h = inputs["a"] * h + inputs["b"]
        return {"y": inputs["b"]}, {"a": h}

    layer = kcells.RNN(
        Raw(product), return_sequences=True, return_state=True, go_backwards=backwards
    )
    initial = {"a": first, "z": first[:, None]}
    y, state = layer({"a": a, "b": b}, initial_state=initial, mask=mask)
    every, _, after = run(step, {"a": a, "b": b}, {"a": first}, mask, backwards)
    close(numbers([y, state["a"], state["z"]]), [every["y"], after["a"], after["a"][:, None]], 1e-9)


# -- Memory, precision, dropout, layers around


@pytest.mark.parametrize("kind", KINDS)
def test_stateful_over_two_batches(float64, rng, kind):
    cell = built(kind)
    layer = kcells.RNN(cell, stateful=True, return_sequences=True, return_state=True)
    zeros = {k: np.zeros_like(v) for k, v in cell.random_states(rng, BATCH).items()}
    states = zeros
    for mask in (MASKS["empty rows"], None, MASKS["random"]):
        x = rng.normal(size=(BATCH, TIME, FEATURES))
        got = numbers(layer(x, mask=mask))
        every, _, states = run(cell.numpy_step(), {"x": x}, states, mask)
        close(got, flat(every) + flat(states))
    layer.reset_state()
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    every, _, states = run(cell.numpy_step(), {"x": x}, zeros)
    close(numbers(layer(x)), flat(every) + flat(states))


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("mixed_bfloat16", 0.15), rare("float32", 2e-5), rare("mixed_float16", 0.02)],
)
@pytest.mark.parametrize("kind", ["turning", *map(rare, ("gated", "structured", "constant"))])
def test_other_precisions(rng, kind, policy, tolerance):
    keras.config.set_dtype_policy(policy)
    cell = built(kind)
    # Small numbers: the loss would turn the rounding of large ones into another gradient.
    x = 0.2 * rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    mask = MASKS["random"]
    layer, loop = (
        kcells.RNN(cell, return_sequences=True, return_state=True, parallel=p)
        for p in ("auto", "never")
    )
    assert layer._plan.path == "parallel"
    ours, theirs = layer(x, mask=mask), loop(x, mask=mask)
    for a, b in zip(tree.flatten(ours), tree.flatten(theirs), strict=True):
        assert keras.backend.standardize_dtype(a.dtype) == layer.compute_dtype
        assert a.dtype == b.dtype
    assert_same(call(layer, x, mask=mask), call(loop, x, mask=mask), tolerance)


@pytest.mark.parametrize("way", MORE_WAYS)
def test_dropout_has_the_same_masks(float64, rng, way):
    x = rng.normal(size=(BATCH, 20, FEATURES))
    results = []
    for options in ({}, {"parallel": "never"}, {"unroll": True}):
        cell = built(Gated, dropout=0.5, seed=11)
        layer = kcells.RNN(cell, return_sequences=True, **options)
        results.append(call(layer, x, way=way, training=True))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])
    without = kcells.RNN(cell, return_sequences=True)
    assert np.abs(call(without, x, training=False)[0][0] - results[0][0][0]).max() > 0.1


@pytest.mark.parametrize("merge_mode", ["concat", rare(None)])
def test_both_directions(float64, rng, scans, merge_mode):
    pair = []
    for policy in ("auto", "never"):
        inner = kcells.RNN(Gated(), return_sequences=True, parallel=policy)
        layer = kcells.Bidirectional(inner, merge_mode=merge_mode)
        layer.build((BATCH, TIME, FEATURES))
        pair.append(layer)
    pair[1].set_weights(pair[0].get_weights())
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    ours, theirs = (call(layer, x, mask=MASKS["empty rows"]) for layer in pair)
    assert len(scans) == 2
    assert_same(ours, theirs)


def test_a_stack(float64, rng, scans):
    stack = kcells.StackedCells([built("gated"), keras.layers.GRUCell(2)])
    layer = kcells.RNN(stack, return_sequences=True)
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    ours = call(layer, x, mask=MASKS["random"])
    inner = kcells.RNN(stack.cells[0], return_sequences=True)
    outer = kcells.RNN(stack.cells[1], return_sequences=True)
    mask = ops.convert_to_tensor(MASKS["random"])
    close(ours[0], numbers(outer(inner(x, mask=mask), mask=mask)))
    assert set(scans) == {"Gated"}
    loop = kcells.RNN(stack, return_sequences=True, parallel="never")
    scans.clear()
    assert_same(ours, call(loop, x, mask=MASKS["random"]))
    assert not scans


@pytest.mark.parametrize("name", ["min_gru", "lru"])
@pytest.mark.parametrize("way", MORE_WAYS)
def test_installed_cells(float64, rng, scans, name, way):
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    layer = kcells.build(name, 5, return_sequences=True, return_state=True)
    layer.build(x.shape)
    loop = kcells.RNN(layer.cell, return_sequences=True, return_state=True, parallel="never")
    assert kcells.explain(layer).path == "parallel"
    ours = call(layer, x, way=way, mask=MASKS["empty rows"])
    assert len(scans) == 1
    assert_same(ours, call(loop, x, way="eager", mask=MASKS["empty rows"]))
    assert len(scans) == 1


@pytest.mark.skipif("xla" not in WAYS, reason="about TensorFlow")
@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize("kind", [Structured, rare(Turning)])
def test_unknown_length_and_batch_on_tensorflow(float64, rng, kind, way):
    import tensorflow as tf

    cell = built(kind)
    layer, loop = (
        kcells.RNN(cell, return_sequences=True, return_state=True, parallel=p)
        for p in ("auto", "never")
    )
    layer.build((None, None, FEATURES))
    # XLA has to know the shapes.
    lead = (3, 5) if way == "xla" else (None, None)
    signature = [tf.TensorSpec((*lead, FEATURES), "float64")] if way != "eager" else None
    x = rng.normal(size=(3, 5, FEATURES))
    assert_same(call(layer, x, way=way, signature=signature), call(loop, x, way="eager"))
    masked = rng.random((3, 5)) < 0.6
    sums = tf.function(
        lambda x, mask: tree.flatten(layer(x, mask=mask)),
        input_signature=[
            tf.TensorSpec((None, None, FEATURES), "float64"),
            tf.TensorSpec((None, None), "bool"),
        ],
        jit_compile=way == "xla" or None,
    )
    for length in (5, 1, 3):
        got = sums(x[:, :length], masked[:, :length])
        close(numbers(got), numbers(loop(x[:, :length], mask=masked[:, :length])))


# -- When


class Sometimes(Gated):
    @property
    def is_linear(self):
        return False

    def step(self, projected, states, training=False):
        h = ops.tanh(projected["a"] * states[0] + projected["b"])
        return h, [h]


def test_a_cell_that_says_it_is_not_linear_runs_in_a_loop(float64, rng, scans):
    layer = kcells.RNN(built(Sometimes), return_sequences=True)
    assert layer._plan.path == "loop"
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    assert np.abs(numbers(layer(x))[0]).max() < 1.0
    assert not scans


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_follows_from_the_coefficients(float64, rng, kind):
    """`call` and `step` of a cell that says no more than `linear_recurrence`."""
    cell = built(kind)
    x, states = rng.normal(size=(BATCH, FEATURES)), cell.random_states(rng, BATCH)
    tensors = tree.map_structure(ops.convert_to_tensor, cell.packed(states))
    outputs, after = cell(ops.convert_to_tensor(x), tensors)
    again = cell.step(cell.project_inputs(ops.convert_to_tensor(x)), tensors)
    _, last, final = run(cell.numpy_step(), {"x": x[:, None]}, states)
    close(numbers(outputs) + numbers(after), flat(last) + flat(final))
    close(numbers(again), numbers((outputs, after)))
    tree.assert_same_structure(after, cell.packed(states))


@pytest.mark.parametrize("kind", KINDS)
def test_projecting_with_a_leading_time_axis(float64, rng, kind):
    cell = built(kind)
    x = ops.convert_to_tensor(rng.normal(size=(TIME, BATCH, FEATURES)))
    whole = numbers(cell.project_inputs(x))
    steps = [numbers(cell.project_inputs(x[t])) for t in range(TIME)]
    close(whole, [np.stack(leaves) for leaves in zip(*steps, strict=True)])


def test_the_layer_of_keras_runs_a_linear_cell(float64, rng):
    cell = built("gated")
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    stock = keras.layers.RNN(cell, return_sequences=True, return_state=True)
    every, _, after = run(cell.numpy_step(), {"x": x}, {"h": np.zeros((BATCH, 4))})
    close(numbers(stock(x)), flat(every) + flat(after))


def test_nothing_to_say():
    class Silent(kcells.Cell):
        state_size = 2

    with pytest.raises(kcells.errors.CellError, match=r"overrides none of .* linear_recurrence"):
        Silent()
    with pytest.raises(kcells.errors.CellError, match="Sometimes2 is not linear in its state"):
        type(
            "Sometimes2", (kcells.Cell,), {"state_size": 1, "call": lambda s, x, h: (x, h)}
        )().linear_recurrence(None)
