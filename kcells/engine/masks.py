"""From the mask that a user gives to the one mask that the loop obeys."""

from __future__ import annotations

from functools import reduce
from typing import Any

import keras
from keras import ops, tree

from kcells.engine import backends
from kcells.engine.facts import MaskKind
from kcells.errors import StructureError
from kcells.structure import conform, known_shape, leaves_with_paths, map_leaves, plain, same_shape
from kcells.types import Structure, Tensor

__all__ = [
    "as_wide",
    "combine",
    "flags",
    "harmless",
    "kind_of",
    "only_where",
    "picked",
    "positions",
    "select",
    "with_lengths",
]


def combine(mask: Structure, inputs: Structure, who: str) -> Tensor | None:
    """One `(batch, time)` mask, true where every given mask is true.

    Args:
        mask: a mask, or a structure like `inputs` of masks and None, in which a mask or
            None may also stand for a whole container.
        inputs: the sequences, for their structure, batch and time.
        who: the layer, for messages.

    Returns:
        The combined mask, or None if nothing is masked.

    Raises:
        StructureError: if the structure or a shape does not fit.
    """
    mask = plain(mask)
    if tree.is_nested(mask):
        given = [m for _, m in leaves_with_paths(mask, "mask") if m is not None]
        if not given:
            return None
        inputs = plain(inputs)
        mask = conform(_spread(mask, inputs), inputs, "mask", who)
    masks = [(path, m) for path, m in leaves_with_paths(mask, "mask") if m is not None]
    sequence = tree.flatten(inputs)[0]
    leaves = [flags(leaf, sequence, path, who) for path, leaf in masks]
    return reduce(ops.logical_and, leaves) if leaves else None


def flags(given: Any, inputs: Structure, path: str, who: str) -> Tensor:
    """`given`, `(batch, time)`, as bools.

    Raises:
        StructureError: if it has another shape.
    """
    sequence = tree.flatten(inputs)[0]
    _check_shape(path, given, sequence, who)
    return backends.current().as_long_as(ops.cast(given, "bool"), sequence)


def with_lengths(mask: Tensor | None, lengths: Any, inputs: Structure, who: str) -> Tensor:
    """A mask that is true for the first steps of each row alone, and where `mask` is.

    Raises:
        StructureError: if there is not one length a row, or if they are no whole numbers.
    """
    sequence = tree.flatten(inputs)[0]
    if not hasattr(lengths, "dtype"):
        lengths = ops.convert_to_tensor(lengths)
    wanted, given = known_shape(sequence)[:1], known_shape(lengths)
    dtype = keras.backend.standardize_dtype(lengths.dtype)
    if not same_shape(wanted, given) or "int" not in dtype:
        raise StructureError(
            f"{who}: lengths must be ints, one a row.\n"
            f"  needed:   {wanted} of int32\n"
            f"  received: {given} of {dtype}"
        )
    if isinstance(sequence, keras.KerasTensor):
        # A shape is all there is, and there may be no number to count to.
        return keras.KerasTensor(known_shape(sequence)[:2], dtype="bool")
    steps = positions(ops.shape(sequence)[1], dtype)
    counts = ops.less(ops.expand_dims(steps, 0), ops.expand_dims(lengths, 1))
    return counts if mask is None else ops.logical_and(mask, counts)


def positions(length: Any, dtype: str = "int32") -> Tensor:
    """`0, 1, ...` of a length that may be a number, a tensor, or a symbol of JAX or PyTorch.

    Of a symbol by what every exporter knows, which a range is not; and with a start, without
    which the one for ONNX from JAX takes the end for missing.
    """
    if isinstance(length, int) or ops.is_tensor(length):
        return ops.arange(0, length, dtype=dtype)
    return ops.cumsum(ops.ones((length,), dtype=dtype), axis=0) - 1


def _spread(mask: Structure, inputs: Structure) -> Structure:
    """A mask or None that stands for a container, at every leaf of it."""
    if not tree.is_nested(mask):
        return map_leaves(lambda leaf, path: mask, inputs)
    if isinstance(mask, dict):
        if isinstance(inputs, dict) and set(mask) == set(inputs):
            return {key: _spread(mask[key], inputs[key]) for key in mask}
    elif isinstance(inputs, (list, tuple)) and len(mask) == len(inputs):
        return [_spread(m, x) for m, x in zip(mask, inputs, strict=True)]
    return mask


def _check_shape(path: str, mask: Any, sequence: Any, who: str) -> None:
    wanted, given = known_shape(sequence)[:2], known_shape(mask)
    if not same_shape(wanted, given):
        raise StructureError(
            f"{who}: {path} must have the shape (batch, time) of the inputs.\n"
            f"  needed:   {wanted}\n"
            f"  received: {given}\n"
            "  There is one entry for all features of a time step."
        )


def kind_of(mask: Tensor | None) -> MaskKind:
    """What shape a mask `(batch, time)` has, if its values are there to be looked at.

    Examples:

    >>> import numpy as np
    >>> kind_of(np.array([[True, True, False]]))
    'right-padded'
    """
    if mask is None:
        return "none"
    if isinstance(mask, keras.KerasTensor):
        return "not known yet"
    valid = ops.convert_to_numpy(mask).astype(bool)
    if not valid.any(axis=1).all():
        return "with a fully masked row"
    rises = ~valid[:, :-1] & valid[:, 1:]
    if not rises.any():
        return "right-padded"
    falls = valid[:, :-1] & ~valid[:, 1:]
    return "with holes" if (rises.any(axis=1) & falls.any(axis=1)).any() else "left-padded"


def select(valid: Tensor, new: Structure, old: Structure) -> Structure:
    """Leaf by leaf, `new` where `valid` is true and `old` where it is not.

    `valid` has the shape of the leading axes of every leaf.
    """

    return tree.map_structure(lambda n, o: ops.where(as_wide(valid, n), n, o), new, old)


def only_where(valid: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` where `valid`, which has the shape of its leading axes; else zero."""
    return select(valid, tensor, ops.zeros_like(tensor))


def harmless(inputs: Structure, mask: Tensor) -> Structure:
    """`inputs` with something in masked steps that the cell could meet anywhere.

    A masked step runs too, and is not chosen. That stops its results but not its gradient:
    zero, times a derivative that may not be finite, is NaN. So what stands there is replaced,
    and not by zeros, at which a cell may be singular, but by the first step of the row that
    counts; in a row without one, by that of another row.

    Args:
        inputs: a structure of `(time, batch, ...)`.
        mask: `(time, batch)` bool.
    """
    first_of_row = _first(mask)
    has_steps = ops.any(mask, axis=0)
    first_row = _first(has_steps)

    def replace(leaf: Tensor) -> Tensor:
        if keras.backend.standardize_dtype(leaf.dtype) == "bool":
            return leaf
        own = picked(first_of_row, leaf)
        of_another = picked(first_row, own)
        instead = ops.stop_gradient(select(has_steps, own, of_another))
        return select(mask, leaf, instead)

    return tree.map_structure(replace, inputs)


def _first(valid: Tensor) -> Tensor:
    """True at the first true entry along the first axis, and nowhere else."""
    return valid & (ops.cumsum(ops.cast(valid, "int32"), axis=0) == 1)


def picked(where: Tensor, tensor: Tensor) -> Tensor:
    """The entry of the first axis that `where` picks; zero where it picks none.

    As a sum: an axis may turn out to be empty, and then there is nothing to fetch.
    """
    return ops.cast(ops.sum(only_where(where, tensor), axis=0), tensor.dtype)


def as_wide(leading: Tensor, tensor: Tensor) -> Tensor:
    """`leading` with axes of length one for those that only `tensor` has."""
    missing = len(tensor.shape) - len(leading.shape)
    return ops.reshape(leading, (*ops.shape(leading), *([1] * missing)))
