"""Sizes that are not numbers: None, and what stands for a size in a trace."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

from kcells.cells.protocol import BoundCell
from kcells.engine.masks import combine
from kcells.errors import StructureError
from kcells.layers.checks import check_states
from kcells.structure import agree, known_shape, same_shape


class Symbol:
    """A size of a trace: to ask whether it is equal to another would settle both."""

    __hash__ = None

    def __eq__(self, other):
        raise AssertionError("compared")


class Traced:
    """As much of a tensor as the checks look at."""

    dtype = "float32"

    def __init__(self, *shape):
        self.shape = shape


SIZES = [None, Symbol(), Symbol()]


def test_a_known_shape_has_numbers_alone():
    assert known_shape(Traced(Symbol(), 5, None)) == (None, 5, None)
    assert known_shape(np.zeros((2, 3))) == (2, 3)


def test_shapes_differ_by_what_is_known():
    assert same_shape((None, 3), (4, None))
    assert not same_shape((2,), (2, 3))
    assert not same_shape((None, 3), (None, 4))


@pytest.mark.parametrize(("batch", "other"), itertools.product(SIZES, SIZES))
def test_leaves_of_unknown_size_agree(batch, other):
    leaves = {"a": Traced(batch, 5, 2), "b": Traced(other, other, 3)}
    assert agree(leaves, "inputs", "the layer") == (None, 5)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_known_is_compared(size):
    leaves = {"a": Traced(size, 5, 2), "b": Traced(4, size, 3), "c": Traced(3, 6, 1)}
    with pytest.raises(StructureError, match="disagree on batch") as caught:
        agree(leaves, "inputs", "the layer")
    assert 'inputs["c"]' in str(caught.value)
    del leaves["b"]
    with pytest.raises(StructureError, match="disagree on time"):
        agree(leaves, "inputs", "the layer")


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_fits_sequences_of_unknown_size(size):
    if keras.backend.backend() == "jax" and size is not None:
        pytest.skip("its own symbols are computed with: tests/engine/test_exports.py")
    mask = keras.ops.ones((2, 5), dtype="bool")
    assert combine(mask, Traced(size, size, 3), "the layer") is not None
    with pytest.raises(StructureError, match="mask must have the shape"):
        combine(mask, Traced(size, 6, 3), "the layer")


@pytest.mark.parametrize("size", SIZES)
def test_states_fit_a_batch_of_unknown_size(size):
    cell = BoundCell(layers.GRUCell(4), owner=layers.Layer())
    states = check_states(cell, [Traced(size, 4)], 2, "initial_state", "the layer")
    assert states[0].shape[0] is size
    with pytest.raises(StructureError, match="initial_state"):
        check_states(cell, [Traced(size, 5)], None, "initial_state", "the layer")
