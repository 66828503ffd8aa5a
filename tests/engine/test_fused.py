"""Packing: what counts goes to the front, and is found again, under any mask."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kcells.engine.rows import Rows, _carried_on_by_steps, carried_on

MASKS = st.tuples(st.integers(1, 6), st.integers(1, 4)).flatmap(
    lambda shape: arrays.arrays(bool, shape)
)

# Every shape of a mask is compiled anew on JAX.
EXAMPLES = 12 if keras.backend.backend() == "jax" else 60


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def sequence(mask):
    """Numbers that tell where they come from, none of them zero."""
    time, batch = mask.shape
    return (1.0 + np.arange(time * batch).reshape(time, batch, 1)).astype("float32")


@settings(max_examples=EXAMPLES, deadline=None)
@given(MASKS)
def test_steps_that_count_come_first_and_in_order(mask):
    x = sequence(mask)
    packed = numpy(Rows(keras.ops.convert_to_tensor(mask)).to_the_front(x))
    for row in range(mask.shape[1]):
        kept = x[mask[:, row], row]
        np.testing.assert_array_equal(packed[: len(kept), row], kept)
        assert not packed[len(kept) :, row].any()


@settings(max_examples=EXAMPLES, deadline=None)
@given(MASKS, st.booleans(), st.booleans())
def test_outputs_are_found_again(mask, zero_output_for_mask, from_the_end):
    """A kernel that returns its inputs gives what the loop would make of them."""
    x = sequence(mask)
    rows = Rows(keras.ops.convert_to_tensor(mask))
    packed = rows.to_the_front(x)
    found = numpy(rows.back(packed, zero_output_for_mask, from_the_end))
    order = range(len(mask))[::-1] if from_the_end else range(len(mask))
    last = np.zeros_like(x[0])
    for place, t in enumerate(order):
        valid = mask[t][:, None]
        output = np.where(valid, x[t], 0.0 if zero_output_for_mask else last)
        last = np.where(valid, x[t], last)
        np.testing.assert_array_equal(found[place], output)


@settings(max_examples=EXAMPLES, deadline=None)
@given(MASKS)
def test_outputs_are_repeated_where_a_step_is_masked(mask):
    x = sequence(mask)
    rows = Rows(keras.ops.convert_to_tensor(mask))
    found, last = numpy(rows.repeated(x)), numpy(rows.last(x))
    expected = np.zeros_like(x[0])
    for t, valid in enumerate(mask):
        expected = np.where(valid[:, None], x[t], expected)
        np.testing.assert_array_equal(found[t], expected)
    counts = keras.ops.convert_to_tensor(x[..., 0].astype("int32"))
    for carried in (carried_on, _carried_on_by_steps):
        found = numpy(carried(keras.ops.convert_to_tensor(mask), counts))
        np.testing.assert_array_equal(found, numpy(rows.repeated(x))[..., 0])
    has_steps = mask.any(axis=0)
    np.testing.assert_array_equal(numpy(rows.has_steps), has_steps)
    np.testing.assert_array_equal(last[has_steps], expected[has_steps])
    at_the_end = numpy(rows.at_the_end(rows.to_the_front(x)))
    np.testing.assert_array_equal(at_the_end[has_steps], expected[has_steps])
