"""What stands in a masked step touches nothing: no result, and no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops, tree

import kcells
from kcells.testing.checks.sequences import MASK
from kcells.testing.differentiate import Differentiated
from kcells.testing.runner import planned
from kcells.testing.subject import Subject
from kcells.testing.target import Target

BATCH, TIME = MASK.shape
EMPTY_ROW = MASK & np.array([[True], [False], [True]])
PLAIN: dict[str, Any] = {"dispatch": "never", "parallel": "never"}
NORMAL = np.random.default_rng(0).normal(size=(BATCH, TIME, 3)).astype("float32")


def spoilt(leaf: np.ndarray, mask: np.ndarray, value: float) -> np.ndarray:
    """A sequence with `value` in the masked steps; ints, such as tokens, get none they know."""
    wide = mask.reshape(*mask.shape, *[1] * (leaf.ndim - 2))
    value = value if leaf.dtype.kind == "f" else -7
    return np.where(wide, leaf, np.asarray(value, leaf.dtype))


def assert_nothing_leaks(layer: Any, inputs: Any, mask: np.ndarray, clean: float = 0.0) -> None:
    """Results and gradients do not depend on what the masked steps hold, and are finite."""
    layer(inputs)  # builds it
    differentiate = Differentiated(
        layer,
        lambda leaves: tree.flatten(layer(tree.pack_sequence_as(inputs, list(leaves)), mask=mask)),
    )
    flat = tree.flatten(inputs)
    results = tree.flatten(layer(inputs, mask=mask))
    cotangents = [np.ones(tuple(r.shape), "float32") for r in results]
    expected = differentiate([spoilt(leaf, mask, clean) for leaf in flat], cotangents)
    assert all(np.isfinite(array).all() for group in expected for array in group)
    for value in (np.nan, np.inf):
        found = differentiate([spoilt(leaf, mask, value) for leaf in flat], cotangents)
        for ours, theirs in zip(tree.flatten(found), tree.flatten(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.one_in(12)
@pytest.mark.parametrize("name", [info.qualified_id for info in kcells.list_cells()])
def test_every_cell(name):
    subject, _ = next(planned(Target(name), seed=0))
    layer = subject.layer()
    assert_nothing_leaks(layer, Subject.rows(subject.inputs, slice(0, BATCH)), EMPTY_ROW)


class Normalizing(kcells.Cell):
    """Divides its inputs by their length: there is no derivative where they are zero."""

    state_size = output_size = 3

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, 3), name="kernel")

    def call(self, inputs, states):
        inputs = inputs / ops.sqrt(ops.sum(inputs**2, axis=-1, keepdims=True))
        state = ops.tanh(ops.matmul(inputs, self.kernel) + states[0])
        return state, [state]


class NormalizingLinear(Normalizing):
    """The same in a cell that is linear in its state."""

    call = kcells.Cell.call

    def linear_recurrence(self, projected):
        length = ops.sqrt(ops.sum(projected**2, axis=-1, keepdims=True))
        b = ops.matmul(projected / length, self.kernel)
        return kcells.LinearRecurrence([ops.tanh(b)], [b], lambda states, _: states[0])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mask", [MASK, EMPTY_ROW, np.zeros_like(MASK)], ids=["rows", "row", "all"])
@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (Normalizing, {"return_sequences": True}),
        (Normalizing, {"unroll": True}),
        (Normalizing, {"checkpoint": 2, "go_backwards": True}),
        (Normalizing, {"tbptt": 2, "zero_output_for_mask": True, "return_sequences": True}),
        (NormalizingLinear, {"return_state": True}),
        (NormalizingLinear, {"parallel": "never"}),
    ],
)
def test_a_cell_that_is_singular_at_zero(cell, options, mask):
    """Padding is mostly zeros, and zero times a derivative that is infinite is no number."""
    layer = kcells.RNN(cell(), **options)
    if mask.any():
        assert_nothing_leaks(layer, NORMAL, mask)
        return
    for value in (0.0, np.nan):
        outputs = layer(np.full_like(NORMAL, value), mask=mask)
        assert not ops.convert_to_numpy(tree.flatten(outputs)[0]).any()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("lower", ["gru", "min_gru", Normalizing])
def test_in_a_stack(lower, zeros):
    """What the lower layer gives at a masked step may be zero; the upper one must not mind."""
    below = kcells.cell(lower, 3) if isinstance(lower, str) else lower()
    layer = kcells.RNN(
        [below, Normalizing()], dispatch="auto", zero_output_for_mask=zeros, return_sequences=True
    )
    assert_nothing_leaks(layer, NORMAL, EMPTY_ROW)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["lstm", "ln_gru"])
def test_in_both_directions(name):
    layer = kcells.Bidirectional(kcells.build(name, 3, return_sequences=True))
    assert_nothing_leaks(layer, NORMAL, EMPTY_ROW)


class Lookup(kcells.Cell):
    """Takes tokens; -1 is none of them."""

    state_size = output_size = 3

    def build(self, input_shape):
        self.table = self.add_weight(shape=(5, 3), name="table")

    def call(self, inputs, states):
        state = ops.tanh(ops.take(self.table, inputs, axis=0) + states[0])
        return state, [state]


def test_tokens_that_the_cell_does_not_know():
    tokens = np.random.default_rng(0).integers(5, size=(BATCH, TIME)).astype("int32")
    layer = kcells.RNN(Lookup())
    expected = layer(tokens, mask=MASK)
    found = layer(np.where(MASK, tokens, -7), mask=MASK)
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found, expected)))
