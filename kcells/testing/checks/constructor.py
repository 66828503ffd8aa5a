"""What can be asked of a cell, and what becomes of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kcells.cells.card import card_of
from kcells.cells.signature import constructor_parameters
from kcells.errors import KCellsError
from kcells.structure import plain
from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.subject import Subject

__all__ = ["guessed", "survival", "weight_arguments"]

_BY_ENDING = {
    "_initializer": ("random_normal", "he_uniform"),
    "_regularizer": ("l2", "l1"),
    "_constraint": ("non_neg", "unit_norm"),
    "activation": ("softsign", "hard_sigmoid"),
    "dropout": (0.1, 0.2),
    "seed": (7, 8),
}
"""Two values for arguments of the usual names: one of them is not the default."""


def guessed(parameter: inspect.Parameter) -> Any:
    """A value for an argument that is not its default; None if it takes an author to know one."""
    for ending, values in _BY_ENDING.items():
        if parameter.name.endswith(ending):
            return values[parameter.default == values[0]]
    if isinstance(parameter.default, bool):
        return not parameter.default
    return None


@law(
    "survival",
    "Every argument that is not at its default survives get_config and from_config.",
    of_class=True,
)
def survival(subject: Subject) -> None:
    subject.need_layer()
    given = _others(subject)
    if not given:
        raise NotApplicableError("nobody knows another value for any argument")
    cell = subject.target.make(subject.case, **given)
    before = plain(cell.get_config())
    after = plain(type(cell).from_config(dict(before)).get_config())
    usual = plain(subject.target.make(subject.case).get_config())
    for name in given:
        if name not in before:
            continue  # The law `arguments` says so.
        if str(before[name]) != str(after.get(name)):
            raise ViolationError(
                f"{name} is {before[name]!r} before from_config and {after.get(name)!r} after", name
            )
        if str(before[name]) == str(usual.get(name)):
            raise ViolationError(
                f"{name}={given[name]!r} was given, and get_config says {before[name]!r}, as it"
                " does without",
                name,
            )


def _others(subject: Subject) -> dict[str, Any]:
    """For each argument a value that is not its default, as far as the cell takes it."""
    cls = subject.target.cell_class
    own = card_of(cls).others
    parameters = constructor_parameters(cls).values()
    found = {p.name: own.get(p.name, guessed(p)) for p in parameters}
    usual = subject.case.arguments
    wanted = {
        name: value
        for name, value in found.items()
        if value is not None and str(usual.get(name)) != str(value)
    }
    if _is_made(subject, wanted):
        return wanted
    # Some do not go together, or not with the case. What its author names has to.
    rest = {name: value for name, value in wanted.items() if name in own}
    for name, value in wanted.items():
        if name not in own and _is_made(subject, {**rest, name: value}):
            rest[name] = value
    return rest


def _is_made(subject: Subject, arguments: Mapping[str, Any]) -> bool:
    try:
        subject.target.make(subject.case, **arguments)
    except (KCellsError, TypeError, ValueError):
        return False
    return True


@law(
    "weight_arguments",
    "The initializer, regularizer and constraint of a name are for the same weights, and for no"
    " others.",
    of_class=True,
)
def weight_arguments(subject: Subject) -> None:
    subject.need_layer()
    takes = constructor_parameters(subject.target.cell_class)
    parts = [
        name.removesuffix("_initializer")
        for name in takes
        if name.endswith("_initializer")
        and all(f"{name.removesuffix('_initializer')}_{what}" in takes for what in _ASKED)
    ]
    if not parts:
        raise NotApplicableError("no weight has all three arguments")
    of_part = {part: _weights_of(subject, part) for part in parts}
    for part, names in of_part.items():
        for other, theirs in of_part.items():
            if part < other and (both := names & theirs):
                raise ViolationError(
                    f"{part}_initializer and {other}_initializer both are for"
                    f" {', '.join(sorted(both))}",
                    min(both),
                )


def _weights_of(subject: Subject, part: str) -> set[str]:
    """The weights of a part, which are the same for all three of its arguments."""
    usual = _built(subject)
    started = [
        ops.convert_to_numpy(weight)
        for weight in _built(subject, **{f"{part}_initializer": _CONSTANT}).weights
    ]
    asked = {
        what: _built(subject, **{f"{part}_{what}": value}).weights for what, value in _ASKED.items()
    }
    found = {
        "initializer": {
            weight.name
            for weight, other in zip(asked.pop("initializer"), started, strict=True)
            if not np.array_equal(ops.convert_to_numpy(weight), other)
        }
    }
    for what, weights in asked.items():
        found[what] = {
            weight.name
            for weight, own in zip(weights, usual.weights, strict=True)
            if getattr(weight, what) is _ASKED[what] and getattr(own, what) is not _ASKED[what]
        }
    for what, names in found.items():
        if different := found["initializer"] ^ names:
            raise ViolationError(
                f"{part}_initializer is for {_listed(found['initializer'])}, and {part}_{what} for"
                f" {_listed(names)}",
                min(different),
            )
    return found["initializer"]


_CONSTANT = keras.initializers.Constant(0.25)
_ASKED: dict[str, Any] = {
    "initializer": keras.initializers.RandomUniform(0.1, 0.9, seed=1),
    "regularizer": keras.regularizers.L2(0.5),
    "constraint": keras.constraints.NonNeg(),
}


def _built(subject: Subject, **asked: Any) -> Any:
    """A built cell with these arguments, and with biases, which some leave out."""
    # What is drawn for the other weights is the same each time.
    keras.utils.set_random_seed(subject.seed)
    takes = constructor_parameters(subject.target.cell_class)
    if "use_bias" in takes:
        asked["use_bias"] = True
    cell = subject.target.make(subject.case, **asked)
    return subject.layer(cell, trained=False).cell


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no weight"
