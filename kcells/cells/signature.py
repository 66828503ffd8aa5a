"""The arguments of a constructor, through all base classes that it hands arguments on to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

__all__ = ["constructor_parameters", "needs", "required_arguments"]


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Name and declaration of every argument, but for those that each Keras layer takes.

    A constructor with `**kwargs` hands them on to the next one in line, so that one's
    arguments count too.

    Examples:

    >>> import kcells
    >>> class Cell(kcells.StandardCell):
    ...     def __init__(self, units, slope=1.0, **kwargs):
    ...         super().__init__(units, **kwargs)
    >>> list(constructor_parameters(Cell))[:3]
    ['units', 'slope', 'recurrent_initializer']
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base in (keras.layers.Layer, object):
            break
        constructor = vars(base).get("__init__")
        if constructor is None:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def required_arguments(cls: type) -> list[str]:
    """The arguments that a class cannot be called without.

    Examples:

    >>> import kcells
    >>> class Cell(kcells.StandardCell):
    ...     def __init__(self, size=2, **kwargs):
    ...         super().__init__(units=size, **kwargs)
    >>> required_arguments(Cell), required_arguments(kcells.StandardCell)
    ([], ['units'])
    """
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values()):
        parameters = constructor_parameters(cls)  # type: ignore[assignment]
    return [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]


def needs(function: Callable[..., Any], argument: str) -> bool:
    """Whether `function` cannot be called without an argument of this name.

    Examples:

    >>> needs(lambda inputs, constants, training=False: None, "constants")
    True
    """
    parameter = inspect.signature(function).parameters.get(argument)
    return parameter is not None and parameter.default is parameter.empty
