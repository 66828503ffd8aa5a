"""Results have the structure, shapes and dtypes that the cell declares."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from kcells.structure import Size, leaves_with_paths, size_structure
from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.subject import BATCH, Subject
from kcells.types import Structure

__all__ = ["initial_state", "output_size", "state_size"]


@law(
    "state_size",
    "The new states have the structure and shapes of state_size, in the compute dtype.",
)
def state_size(subject: Subject) -> None:
    layer = subject.layer()
    states = layer._bound.initial_state(BATCH)
    _, new = layer._bound(Subject.step(subject.inputs, 0), states)
    check_leaves(new, layer._bound.sizes, "states", layer._bound.compute_dtype)
    pairs = zip(leaves_with_paths(new, "states"), tree.flatten(states), strict=True)
    for (path, after), before in pairs:
        dtypes = [keras.backend.standardize_dtype(leaf.dtype) for leaf in (before, after)]
        if dtypes[0] != dtypes[1]:
            raise ViolationError(
                f"{path}: the dtype is {dtypes[0]} at the start, and {dtypes[1]} after a step", path
            )


@law("output_size", "The outputs have the structure and shapes of output_size, if it is there.")
def output_size(subject: Subject) -> None:
    layer = subject.layer()
    declared = getattr(layer.cell, "output_size", None)
    if declared is None:
        raise NotApplicableError("the cell declares no output_size: kcells infers it")
    sizes = size_structure(declared, "output_size", layer._bound.name)
    outputs, _ = layer._bound(Subject.step(subject.inputs, 0), layer._bound.initial_state(BATCH))
    check_leaves(outputs, sizes, "outputs", layer._bound.compute_dtype)


@law("initial_state", "get_initial_state(batch_size) gives states of the shapes of state_size.")
def initial_state(subject: Subject) -> None:
    layer = subject.layer()
    states = layer._bound.initial_state(BATCH)
    check_leaves(states, layer._bound.sizes, "initial states", layer._bound.compute_dtype)


def check_leaves(found: Structure, sizes: Structure, root: str, dtype: str) -> None:
    """Raises `ViolationError` for a leaf of another shape or another float dtype."""
    if isinstance(sizes, Size) and isinstance(found, (list, tuple, dict)):
        raise ViolationError(
            f"{root} are a {type(found).__name__}, and one tensor is declared", root
        )
    actual, declared = (dict(leaves_with_paths(s, root)) for s in (found, sizes))
    if actual.keys() != declared.keys():
        raise ViolationError(
            f"{root} have the leaves {', '.join(actual)}; declared are {', '.join(declared)}", root
        )
    for path, leaf in actual.items():
        _check_leaf(path, leaf, declared[path], dtype)


def _check_leaf(path: str, leaf: Any, size: Size, dtype: str) -> None:
    if tuple(leaf.shape) != size.batched(BATCH):
        raise ViolationError(
            f"{path}: the shape is {tuple(leaf.shape)}, and {size.batched(BATCH)} is declared", path
        )
    has = keras.backend.standardize_dtype(leaf.dtype)
    if "float" in has and has != dtype:
        raise ViolationError(f"{path}: the dtype is {has}, and the cell computes in {dtype}", path)
