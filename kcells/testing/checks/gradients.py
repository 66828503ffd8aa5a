"""Gradients: there, finite, and those of what is computed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kcells.testing.law import ViolationError, law
from kcells.testing.numbers import all_finite
from kcells.testing.subject import Subject

__all__ = ["finite_differences", "gradients"]

_STEP = 1e-6
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
        leaves, cotangents = subject.leaves("float64"), subject.cotangents("float64")
        differentiate = subject.differentiated(layer)
        _, found = differentiate(leaves, cotangents)
        places: list[_Weight | _Leaf] = [
            *(_Weight(variable) for variable in layer.trainable_variables),
            *(_Leaf(leaves, k) for k, leaf in enumerate(leaves) if leaf.dtype.kind == "f"),
        ]
        rng = subject.rng()

        def loss() -> float:
            results, _ = differentiate(leaves, cotangents)
            pairs = zip(results, cotangents, strict=True)
            return float(sum(np.sum(r * c) for r, c in pairs if r.dtype.kind == "f"))

        for name, place, gradient in zip(subject.source_names(layer), places, found, strict=True):
            direction = rng.normal(size=gradient.shape)
            direction /= max(np.linalg.norm(direction), 1.0)
            _compare(name, float(np.sum(gradient * direction)), _slope(loss, place, direction))


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


def _slope(loss: Any, place: _Weight | _Leaf, direction: Any) -> float:
    """The derivative of `loss` when `place` moves in this direction."""
    start = place.value
    found = []
    for sign in (1.0, -1.0):
        place.set(start + sign * _STEP * direction)
        found.append(loss())
    place.set(start)
    return float(found[0] - found[1]) / (2 * _STEP)


def _compare(name: str, gradient: float, slope: float) -> None:
    difference, allowed = abs(gradient - slope), _RELATIVE * abs(slope) + _ABSOLUTE
    if not difference <= allowed:
        raise ViolationError(
            f"the gradient of {name} is {gradient:.8g} along a random direction, and finite"
            f" differences give {slope:.8g}",
            name,
            difference,
            allowed,
        )
