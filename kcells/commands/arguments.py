"""Options that say how a cell is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["arguments_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def arguments_option(function: _Command) -> _Command:
    """The option `--argument NAME=VALUE`, as a dict `arguments`."""
    return click.option(
        "--argument",
        "-a",
        "arguments",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_parsed,
        help="An argument of the cell, such as -a use_bias=false; repeat it for several.",
    )(function)


def _parsed(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    return dict(map(parse, texts))


def parse(text: str) -> tuple[str, Any]:
    """Name and value; a value is JSON, or else a string.

    Raises:
        BadParameter: if there is no name.

    Examples:

    >>> parse("units=8"), parse("activation=relu"), parse("normalize=false")
    (('units', 8), ('activation', 'relu'), ('normalize', False))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r}: write NAME=VALUE, such as use_bias=false.")
    if value in ("True", "False", "None"):
        value = {"True": "true", "False": "false", "None": "null"}[value]
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
