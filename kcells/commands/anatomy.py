"""What there is to know of a cell once its plugin is imported. This module imports Keras."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

import keras

from kcells.build import build
from kcells.cells.card import Case, Place, arguments_for, card_of
from kcells.cells.equivalence import equivalence_of
from kcells.cells.signature import constructor_parameters, required_arguments
from kcells.errors import ConfigurationError
from kcells.explain import explain
from kcells.layers.rnn import RNN
from kcells.structure import map_leaves, size_structure

__all__ = ["Made", "argument_rows", "equivalence_row", "make", "path_row", "weight_rows"]

LENGTH = 3
"""Time steps in the sequence that the weights are made for; they do not depend on it."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A cell in its layer, or why there is none.

    Attributes:
        layer: the layer; None if nobody says how the cell is made.
        arguments: what the cell is made with.
        inputs: the shapes of one step of one sample.
        obstacle: why the cell is not made, or its weights are not.
    """

    layer: RNN | None
    arguments: Mapping[str, Any]
    inputs: Any = None
    obstacle: str = ""


def argument_rows(cls: type) -> list[dict[str, Any]]:
    """Names and defaults of the constructor's arguments, but for `**kwargs`."""
    required = required_arguments(cls)
    return [
        {"name": name, "required": name in required, "default": _default(p)}
        for name, p in constructor_parameters(cls).items()
    ]


def _default(parameter: inspect.Parameter) -> str | None:
    return None if parameter.default is parameter.empty else repr(parameter.default)


def make(cls: type, arguments: Mapping[str, Any], units: int, features: int) -> Made:
    """Makes a cell of the sizes given, or in the first of its own cases if it takes others."""
    card, place = card_of(cls), Place(units, features)
    try:
        chosen = arguments_for(cls, place, arguments)
    except ConfigurationError as error:
        if not card.cases:
            return Made(None, arguments, obstacle=str(error).partition("\n")[0])
        return _of_case(cls, arguments, card.cases[0])
    made = _built(build(cls(**chosen)), chosen, card.inputs(place))
    if made.obstacle and card.cases:
        first = _of_case(cls, arguments, card.cases[0])
        return dataclasses.replace(first, obstacle=made.obstacle)
    return made


def _of_case(cls: type, arguments: Mapping[str, Any], case: Case) -> Made:
    chosen = {**case.arguments, **arguments}
    return _built(build(cls(**chosen)), chosen, case.inputs)


def _built(layer: Any, arguments: Mapping[str, Any], inputs: Any) -> Made:
    # In a list, a tuple of ints is a shape and not a structure.
    (sizes,) = size_structure([inputs], "inputs", layer.name)
    symbols = map_leaves(lambda size, _: keras.Input((LENGTH, *size.dims)), sizes)
    try:
        layer(symbols)
    except Exception as error:
        reason = f"it does not take a step of {inputs}: {type(error).__name__}: {error}"
        return Made(layer, arguments, inputs, reason)
    return Made(layer, arguments, inputs)


def weight_rows(layer: RNN) -> list[dict[str, Any]]:
    """Names, shapes and sizes of the weights."""
    names = [weight.name for weight in layer.weights]
    return [
        {
            "name": weight.name if names.count(weight.name) == 1 else weight.path,
            "shape": list(weight.shape),
            "parameters": math.prod(weight.shape),
            "trainable": bool(weight.trainable),
        }
        for weight in layer.weights
    ]


def equivalence_row(cell: Any) -> dict[str, Any]:
    """The built-in layer that a cell declares, with the conditions and their answers."""
    declared = equivalence_of(cell)
    conditions = [dataclasses.asdict(reason) for reason in declared.conditions]
    return {"builtin": declared.builtin, "holds": declared.holds, "conditions": conditions}


def path_row(layer: RNN) -> dict[str, Any]:
    """The path that a layer takes on this machine, with the reasons."""
    return dataclasses.asdict(explain(layer))
