"""Gradients: there, finite, and those of what is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import tree

from kcells.testing.law import ViolationError, law
from kcells.testing.numbers import all_finite
from kcells.testing.subject import Subject

__all__ = ["finite_differences", "gradients"]

_STEP = 1e-6
_JITTER = 1e-3
_RELATIVE, _ABSOLUTE = 1e-5, 1e-7


@law("gradients", "Every trainable weight has a gradient, and it is finite.")
def gradients(subject: Subject) -> None:
    found = subject.gradients.gradients
    all_finite(list(found.items()), "the gradient of")
    # Where states are zero, a norm or a root has no derivative.
    at_start = subject.gradients_from_start.gradients
    all_finite(list(at_start.items()), "from the cell's own initial state, the gradient of")
    for name, gradient in found.items():
        if name.startswith("weight") and gradient.size and not gradient.any():
            raise ViolationError(
                f"the gradient of {name} is zero: no result depends on it. Remove it, or make it"
                " trainable=False",
                name,
            )


@law("finite_differences", "In float64 gradients agree with finite differences.")
def finite_differences(subject: Subject) -> None:
    with subject.double_precision():
        layer = subject.layer(dtype="float64")
        rng = subject.rng()
        leaves = _off_the_edges(subject, rng)
        cotangents = subject.cotangents("float64")
        differentiate = subject.differentiated(layer)
        _, found = differentiate(leaves, cotangents)
        places: list[_Weight | _Leaf] = [
            *(_Weight(variable) for variable in layer.trainable_variables),
            *(_Leaf(leaves, k) for k, leaf in enumerate(leaves) if leaf.dtype.kind == "f"),
        ]

        def results() -> list[Any]:
            return [r for r in differentiate(leaves, cotangents)[0] if r.dtype.kind == "f"]

        weights = [c for c, r in zip(cotangents, results(), strict=False) if r.dtype.kind == "f"]
        for name, place, gradient in zip(subject.source_names(layer), places, found, strict=True):
            direction = rng.normal(size=gradient.shape)
            direction /= max(np.linalg.norm(direction), 1.0)
            moved, changed = _moved(results, place, direction)
            slope = sum(np.sum(c * w) for c, w in zip(changed, weights, strict=True))
            _compare(name, float(np.sum(gradient * moved)), float(slope))


def _off_the_edges(subject: Subject, rng: np.random.Generator) -> list[Any]:
    """All inputs and initial states; states moved a little.

    A state that a cell has clipped, or counts with, lies where a clip or a floor bends.
    """
    leaves = subject.leaves("float64")
    first_state = len(tree.flatten(subject.inputs))
    return [
        leaf
        if position < first_state or leaf.dtype.kind != "f"
        else leaf + rng.uniform(-_JITTER, _JITTER, leaf.shape)
        for position, leaf in enumerate(leaves)
    ]


class _Weight:
    """A weight of the layer, as something to move."""

    def __init__(self, variable: Any) -> None:
        self._variable = variable
        self.value = np.asarray(keras.ops.convert_to_numpy(variable), "float64")

    def set(self, value: Any) -> None:
        self._variable.assign(value)


class _Leaf:
    """One of the arrays that go in."""

    def __init__(self, leaves: list[Any], position: int) -> None:
        self._leaves, self._position = leaves, position
        self.value = leaves[position]

    def set(self, value: Any) -> None:
        self._leaves[self._position] = value


def _moved(
    results: Callable[[], list[Any]], place: _Weight | _Leaf, direction: Any
) -> tuple[Any, list[Any]]:
    """How far `place` moved along `direction`, and by how much each result changed.

    Both over the length of the step, and the first as it came out: next to a large number
    a small step is rounded.
    """
    start = place.value
    ends = (start + _STEP * direction, start - _STEP * direction)
    found = []
    for end in ends:
        place.set(end)
        found.append(results())
    place.set(start)
    changed = [(a - b) / (2 * _STEP) for a, b in zip(*found, strict=True)]
    return (ends[0] - ends[1]) / (2 * _STEP), changed


def _compare(name: str, gradient: float, slope: float) -> None:
    difference, allowed = abs(gradient - slope), _RELATIVE * abs(slope) + _ABSOLUTE
    if not difference <= allowed:
        raise ViolationError(
            f"the gradient of {name} is {gradient:.8g} along a random direction, and finite"
            f" differences give {slope:.8g}\n"
            "  (a cast to float32 on the way, where all should be float64, gives this too)",
            name,
            difference,
            allowed,
        )
