"""The arguments of a constructor, through all base classes that it hands arguments on to."""

from __future__ import annotations

import inspect

import keras

__all__ = ["constructor_parameters"]


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
    ['units', 'slope', 'use_bias']
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
