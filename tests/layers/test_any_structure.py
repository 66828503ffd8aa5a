"""Properties that hold for any structure, with structures drawn by Hypothesis."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops, tree

import kcells
from kcells.structure import conform, leaves_with_paths, plain, size_structure

BATCH, TIME = 2, 3

dims = st.lists(st.integers(1, 3), max_size=3).map(tuple)
"""The shape of one leaf, of rank 0 to 3; a tuple, so inside a structure always a shape."""

keys = st.sampled_from(["a", "b", "pen", "x y", "z"])


def containers(members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(members, min_size=1, max_size=3)
    # A tuple must hold something else than ints to be a structure; shapes are tuples.
    return st.one_of(some, some.map(tuple), st.dictionaries(keys, members, min_size=1, max_size=3))


structures = containers(st.recursive(dims, containers, max_leaves=5))

# Every structure is a compilation of its own on JAX.
EXAMPLES = 5 if keras.backend.backend() == "jax" else 25

relaxed = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@keras.saving.register_keras_serializable(package="kcells-tests")
class LeakyCell(keras.layers.Layer):
    """s_t = s_{t-1} / 2 + x_t and output 3 s_t - x_t, leaf by leaf, in any structure."""

    def __init__(self, sizes: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = sizes
        self.state_size = sizes

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any, states: Any) -> Any:
        new = tree.map_structure(lambda x, s: s / 2 + x, plain(inputs), plain(states))
        return tree.map_structure(lambda x, s: 3 * s - x, plain(inputs), new), new


def arrays(sizes: Any, rng: np.random.Generator, *lead: int) -> Any:
    """Random arrays in the structure of `sizes`."""
    wanted = size_structure(sizes, "sizes", "test")
    return tree.map_structure(
        lambda size: rng.normal(size=(*lead, *size.dims)).astype("float32"), wanted
    )


def reference(x: np.ndarray, state: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of all steps of one leaf, and its final state."""
    outputs = np.zeros_like(x)
    state = state.copy()
    for sample in range(BATCH):
        last = np.zeros_like(x[0, 0])
        for t in range(TIME):
            if mask[sample, t]:
                state[sample] = state[sample] / 2 + x[sample, t]
                last = 3 * state[sample] - x[sample, t]
            outputs[sample, t] = last
    return outputs, state


masks = st.lists(st.booleans(), min_size=BATCH * TIME, max_size=BATCH * TIME).map(
    lambda flags: np.array(flags).reshape(BATCH, TIME)
)


@relaxed
@given(structures, masks, st.booleans())
def test_a_layer_runs_any_structure(sizes, mask, unroll):
    rng = np.random.default_rng(1)
    inputs, states = arrays(sizes, rng, BATCH, TIME), arrays(sizes, rng, BATCH)
    layer = kcells.RNN(LeakyCell(sizes), return_sequences=True, return_state=True, unroll=unroll)
    result = layer(inputs, initial_state=states, mask=ops.convert_to_tensor(mask))
    outputs, final = result[0], result[1:]
    final = final[0] if isinstance(sizes, dict) else final
    flat = zip(
        tree.flatten(conform(plain(outputs), inputs, "outputs", "test")),
        tree.flatten(conform(plain(final), states, "states", "test")),
        tree.flatten(inputs),
        tree.flatten(states),
        strict=True,
    )
    for output, end, x, start in flat:
        wanted_output, wanted_end = reference(x, start, mask)
        np.testing.assert_allclose(ops.convert_to_numpy(output), wanted_output, atol=1e-5)
        np.testing.assert_allclose(ops.convert_to_numpy(end), wanted_end, atol=1e-5)


@relaxed
@given(structures)
def test_symbolic_shapes_are_the_eager_ones(sizes):
    rng = np.random.default_rng(2)
    inputs = arrays(sizes, rng, BATCH, TIME)
    layer = kcells.RNN(LeakyCell(sizes), return_sequences=True, return_state=True)
    eager = layer(inputs)
    symbolic = layer(tree.map_structure(lambda x: keras.KerasTensor(x.shape), inputs))
    shapes = layer.compute_output_shape(tree.map_structure(lambda x: x.shape, inputs))
    tree.assert_same_structure(plain(symbolic), plain(eager))
    tree.map_structure(lambda s, e: _same(tuple(s.shape), tuple(e.shape)), symbolic, eager)
    tree.map_shape_structure(lambda shape: None, shapes)
    eager_shapes = [tuple(e.shape) for e in tree.flatten(eager)]
    assert [tuple(leaf.shape) for leaf in tree.flatten(_specs(shapes))] == eager_shapes


def _same(a: Any, b: Any) -> None:
    assert a == b


def _specs(shapes: Any) -> Any:
    return tree.map_shape_structure(keras.KerasTensor, shapes)


@relaxed
@given(structures)
def test_stateful_memory_and_its_reset_have_the_structure(sizes):
    rng = np.random.default_rng(3)
    inputs, states = arrays(sizes, rng, BATCH, TIME), arrays(sizes, rng, BATCH)
    layer = kcells.RNN(LeakyCell(sizes), stateful=True)
    layer(inputs)
    layer.reset_state(states)
    for got, want in zip(tree.flatten(layer.states), tree.flatten(states), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(got), want)
    other = kcells.RNN(LeakyCell(sizes))
    from_memory = other(inputs, initial_state=layer.states)
    from_arrays = other(inputs, initial_state=states)
    for got, want in zip(tree.flatten(from_memory), tree.flatten(from_arrays), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(got), ops.convert_to_numpy(want))
    layer.reset_state()
    assert all(not ops.convert_to_numpy(leaf).any() for leaf in tree.flatten(layer.states))


@relaxed
@given(structures, st.sampled_from(["sum", "ave", "mul"]))
def test_bidirectional_merges_every_leaf(sizes, mode):
    rng = np.random.default_rng(4)
    inputs = arrays(sizes, rng, BATCH, TIME)
    layer = kcells.Bidirectional(kcells.RNN(LeakyCell(sizes), return_sequences=True), mode)
    result = layer(inputs)
    everywhere = np.ones((BATCH, TIME), bool)
    merge = {"sum": lambda a, b: a + b, "ave": lambda a, b: (a + b) / 2, "mul": lambda a, b: a * b}
    for got, x in zip(
        tree.flatten(conform(plain(result), inputs, "outputs", "test")),
        tree.flatten(inputs),
        strict=True,
    ):
        zero = np.zeros_like(x[:, 0])
        forward, _ = reference(x, zero, everywhere)
        backward, _ = reference(x[:, ::-1], zero, everywhere)
        wanted = merge[mode](forward, backward[:, ::-1])
        np.testing.assert_allclose(ops.convert_to_numpy(got), wanted, atol=1e-4)


@relaxed
@given(structures)
def test_a_stack_passes_structures_on(sizes):
    rng = np.random.default_rng(5)
    inputs = arrays(sizes, rng, BATCH, TIME)
    stacked = kcells.RNN([LeakyCell(sizes), LeakyCell(sizes)], return_sequences=True)(inputs)
    first = kcells.RNN(LeakyCell(sizes), return_sequences=True)(inputs)
    second = kcells.RNN(LeakyCell(sizes), return_sequences=True)(first)
    tree.assert_same_structure(plain(stacked), plain(second))
    for got, want in zip(tree.flatten(stacked), tree.flatten(second), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(got), ops.convert_to_numpy(want), atol=1e-5)


@relaxed
@given(structures)
def test_paths_name_every_leaf_once_and_lead_back_to_it(sizes):
    wanted = size_structure(sizes, "sizes", "test")
    named = list(leaves_with_paths(wanted, "sizes"))
    assert len({path for path, _ in named}) == len(named)
    for path, leaf in named:
        assert eval(path, {"sizes": wanted}) is leaf  # noqa: S307  # the path is ours


@relaxed
@given(structures)
def test_plain_is_a_copy_of_the_same_structure(sizes):
    copied = plain(sizes)
    assert copied == sizes
    assert type(copied) is type(sizes)
