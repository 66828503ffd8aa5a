"""Half precision."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from kcells.structure import leaves_with_paths, map_leaves
from kcells.testing.backends.base import is_float
from kcells.testing.law import ViolationError, law
from kcells.testing.numbers import all_finite
from kcells.testing.subject import BATCH, Subject
from kcells.types import Structure

__all__ = ["mixed_precision"]

_POLICY, _COMPUTE = "mixed_bfloat16", "bfloat16"


@law(
    "mixed_precision",
    "Under mixed_bfloat16 weights are float32, and results bfloat16 and finite.",
)
def mixed_precision(subject: Subject) -> None:
    subject.need_layer()
    layer = subject.layer(dtype=_POLICY)
    for weight in layer.trainable_weights:
        if weight.dtype != "float32":
            raise ViolationError(
                f"weight {weight.name} is {weight.dtype}, not float32", f"weight {weight.name}"
            )
    outputs, *states = layer(subject.inputs)
    _check_all(outputs, "outputs")
    _check_all(tree.pack_sequence_as(layer._bound.sizes, tree.flatten(states)), "states")
    # What a step itself gives, before a layer casts it.
    first = map_leaves(lambda leaf, _: _as_computed(leaf), Subject.step(subject.inputs, 0))
    outputs, states = layer._bound(first, layer._bound.initial_state(BATCH))
    _check_all(outputs, "outputs of a step")
    _check_all(states, "states of a step")


def _as_computed(leaf: Any) -> Any:
    return keras.ops.cast(leaf, _COMPUTE) if is_float(leaf) else leaf


def _check_all(structure: Structure, root: str) -> None:
    for path, leaf in leaves_with_paths(structure, root):
        _check(path, leaf)


def _check(path: str, leaf: Any) -> None:
    dtype = keras.backend.standardize_dtype(leaf.dtype)
    if not is_float(leaf):
        return
    if dtype != _COMPUTE:
        raise ViolationError(f"{path} is {dtype}, not {_COMPUTE}", path)
    all_finite([(path, keras.ops.cast(leaf, "float32"))], "under mixed_bfloat16,")
