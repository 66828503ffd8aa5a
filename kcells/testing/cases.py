"""The configurations in which a class is checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kcells.cells.card import Case, Place, arguments_for, card_of
from kcells.types import Structure

__all__ = ["cases_for", "first_case", "inputs_with"]

_SMALL = Place(units=4, features=3)


def cases_for(
    cell_class: type, arguments: Mapping[str, Any] | None, inputs: Structure | None
) -> list[Case]:
    """The cases to check a class in: the caller's, else those of its card, else a small one.

    Raises:
        ConfigurationError: if nobody says how to make the cell.
    """
    card = card_of(cell_class)
    if arguments is None and inputs is None and card.cases:
        return _named(card.cases)
    if arguments is None:
        arguments = arguments_for(cell_class, _SMALL)
    return [Case(arguments, card.inputs(_SMALL) if inputs is None else inputs)]


def inputs_with(cell_class: type, features: int) -> Structure:
    """The shapes of one step of a small cell's inputs, with so many features."""
    return card_of(cell_class).inputs(dataclasses.replace(_SMALL, features=features))


def first_case(cell_class: type, inputs: Structure | None) -> Case:
    """What goes into a cell that is made already: what goes into the first of its class."""
    card = card_of(cell_class)
    if inputs is not None or not card.cases:
        return Case({}, card.inputs(_SMALL) if inputs is None else inputs)
    return Case({}, card.cases[0].inputs, sample=card.cases[0].sample)


def _named(cases: Sequence[Case]) -> list[Case]:
    """`cases`, each with a name of its own where there are several."""
    if len(cases) < 2:
        return list(cases)
    names = [
        case.name or ",".join(f"{key}={_word(value)}" for key, value in case.arguments.items())
        for case in cases
    ]
    return [
        dataclasses.replace(case, name=name if names.count(name) == 1 else f"{name} {position}")
        for position, (case, name) in enumerate(zip(cases, names, strict=True))
    ]


def _word(value: Any) -> str:
    """A value as a name has it: the same in every process."""
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return str(value) if is_plain else type(value).__name__
