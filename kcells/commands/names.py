"""Cells by the names that a user types, from metadata alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from kcells import registry
from kcells.errors import AmbiguousCellError, UnknownCellError
from kcells.registry.info import CellInfo
from kcells.registry.names import resolve
from kcells.text import one_line

__all__ = ["complete_cell", "id_argument", "is_ambiguous", "name_of"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PLAIN = re.compile(r"[\w.:-]+\Z")
"""What a shell may be handed, which reads more into some signs."""


def name_of(info: CellInfo, visible: Sequence[CellInfo]) -> str:
    """The shortest name that means this cell: its id, or its qualified id."""
    try:
        return info.id if resolve(info.id, visible) == info else info.qualified_id
    except (AmbiguousCellError, UnknownCellError):  # It may hold a colon.
        return info.qualified_id


def is_ambiguous(cell_id: str, visible: Sequence[CellInfo]) -> bool:
    """Whether several distributions declare an id, none of which owns it."""
    try:
        resolve(cell_id, visible)
    except AmbiguousCellError:
        return True
    except UnknownCellError:
        return False
    return False


def complete_cell(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of cells for the shell."""
    visible = registry.list_cells()
    named = {name_of(info, visible): info for info in visible}
    return [
        CompletionItem(name, help=one_line(info.source))
        for name, info in named.items()
        if name.startswith(incomplete) and _PLAIN.match(name)
    ]


def id_argument(**settings: Any) -> Callable[[_Command], _Command]:
    """The argument of a cell's name, completed by the shell."""
    settings = {"metavar": "ID", "shell_complete": complete_cell, **settings}
    return click.argument("cell", **settings)
