"""Every option of `kcells.RNN` crossed with every other, against a NumPy loop."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from mixing_cell import LAYOUTS, MixingCell, numpy_step, pack, random_inputs, random_states
from numpy_loop import flat, run

import kcells

BATCH, TIME = 4, 5

MASKS = {
    "none": None,
    "right": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]],
    "holes": [[0, 1, 0, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 1]],
}

FLAGS = ("unroll", "go_backwards", "zero_output_for_mask", "stateful", "return_sequences")
ALL_FLAGS = list(itertools.product([False, True], repeat=len(FLAGS)))


def flags_for(layout: str, mask_kind: str, return_state: bool) -> list[tuple[bool, ...]]:
    """All of them on PyTorch; a sixth, another one each time, where each call is compiled."""
    if keras.backend.backend() == "torch":
        return ALL_FLAGS
    return a_sixth(layout, mask_kind, return_state)


def a_sixth(layout: str, mask_kind: str, return_state: bool) -> list[tuple[bool, ...]]:
    number = list(LAYOUTS).index(layout) + 2 * list(MASKS).index(mask_kind) + return_state
    return ALL_FLAGS[number % 6 :: 6]


@pytest.mark.once
def test_every_flag_is_crossed_with_every_layout():
    for layout in LAYOUTS:
        seen = [
            flags for mask in MASKS for state in (0, 1) for flags in a_sixth(layout, mask, state)
        ]
        assert set(seen) == set(ALL_FLAGS)
        assert len(seen) < 2 * len(ALL_FLAGS)


def numpy_leaves(structure: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(leaf) for leaf in keras.tree.flatten(structure)]


def in_layout(layout: str, arrays: dict[str, Any]) -> Any:
    return pack(layout, arrays["vector"], arrays["matrix"])


def assert_same(result: Any, layout: str, expected: dict[str, np.ndarray], what: str) -> None:
    """`result` has the containers of the layout, and the numbers of the reference."""
    wanted = in_layout(layout, expected)
    keras.tree.assert_same_structure(result, wanted)
    for got, want in zip(numpy_leaves(result), keras.tree.flatten(wanted), strict=True):
        assert got.shape == want.shape, what
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12, err_msg=what)


@pytest.mark.parametrize("return_state", [False, True], ids=["", "return_state"])
@pytest.mark.parametrize("mask_kind", MASKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_options_agree_with_the_numpy_loop(rng, float64, layout, mask_kind, return_state):
    inputs = random_inputs(rng, BATCH, TIME)
    mask = None if MASKS[mask_kind] is None else np.array(MASKS[mask_kind], bool)
    zeros = {key: np.zeros_like(value) for key, value in random_states(rng, BATCH).items()}
    cell = MixingCell(layout)
    cell.build(None)
    step = numpy_step([keras.ops.convert_to_numpy(w) for w in cell.weights])

    for values in flags_for(layout, mask_kind, return_state):
        options = dict(zip(FLAGS, values, strict=True))
        loop = {k: options[k] for k in ("go_backwards", "zero_output_for_mask")}
        layer = kcells.RNN(cell, return_state=return_state, **options)
        states = zeros
        # A stateful layer is called twice: the second call goes on where the first ended.
        for call in range(1 + options["stateful"]):
            what = f"{options}, call {call}"
            given = None if mask is None else keras.ops.convert_to_tensor(mask)
            result = layer(in_layout(layout, inputs), mask=given)
            every, last, states = run(step, inputs, states, mask, **loop)
            expected = every if options["return_sequences"] else last
            if not return_state:
                assert_same(result, layout, expected, what)
                continue
            output, *given_states = result
            assert_same(output, layout, expected, what)
            is_dict = layout in ("dict", "nested")
            got_states = (
                given_states[0] if is_dict else type(in_layout(layout, states))(given_states)
            )
            assert_same(got_states, layout, states, what)
        if options["stateful"]:
            for got, want in zip(numpy_leaves(layer.states), flat_in(layout, states), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def flat_in(layout: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return keras.tree.flatten(in_layout(layout, arrays))


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_initial_state_and_a_mask_a_leaf(rng, float64, layout, unroll):
    inputs, states = random_inputs(rng, BATCH, TIME), random_states(rng, BATCH)
    first = np.array(MASKS["right"], bool)
    second = np.array(MASKS["holes"], bool)
    cell = MixingCell(layout)
    layer = kcells.RNN(cell, return_sequences=True, unroll=unroll)
    result = layer(
        in_layout(layout, inputs),
        initial_state=in_layout(layout, states),
        mask=pack(layout, first, second),
    )
    step = numpy_step([keras.ops.convert_to_numpy(w) for w in cell.weights])
    every, _, _ = run(step, inputs, states, first & second)
    assert_same(result, layout, every, layout)
    one_mask = layer(
        in_layout(layout, inputs),
        initial_state=in_layout(layout, states),
        mask=pack(layout, first & second, None),
    )
    assert_same(one_mask, layout, every, layout)


def test_the_reference_can_fail(rng):
    """A wrong number, a wrong shape and a wrong container are all noticed."""
    arrays = random_states(rng, 2)
    good = in_layout("dict", {k: keras.ops.convert_to_tensor(v) for k, v in arrays.items()})
    assert_same(good, "dict", arrays, "")
    with pytest.raises(AssertionError):
        assert_same(good, "dict", {**arrays, "vector": arrays["vector"] + 1e-6}, "")
    with pytest.raises((AssertionError, ValueError)):
        assert_same(good, "list", arrays, "")
    assert len(flat(arrays)) == 2
