"""Cells by the names that a user types, from metadata alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from kcells import registry
from kcells.errors import AmbiguousCellError
from kcells.registry.info import CellInfo
from kcells.registry.names import resolve

__all__ = ["complete_cell", "id_argument", "is_ambiguous", "name_of"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def name_of(info: CellInfo, visible: Sequence[CellInfo]) -> str:
    """The shortest name that means this cell: its id, or its qualified id."""
    if is_ambiguous(info.id, visible):
        return info.qualified_id
    return info.id if resolve(info.id, visible) == info else info.qualified_id


def is_ambiguous(cell_id: str, visible: Sequence[CellInfo]) -> bool:
    """Whether several distributions declare an id, none of which owns it."""
    try:
        resolve(cell_id, visible)
    except AmbiguousCellError:
        return True
    return False


def complete_cell(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of cells for the shell."""
    visible = registry.list_cells()
    named = {name_of(info, visible): info for info in visible}
    return [
        CompletionItem(name, help=info.source)
        for name, info in named.items()
        if name.startswith(incomplete)
    ]


def id_argument(**settings: Any) -> Callable[[_Command], _Command]:
    """The argument of a cell's name, completed by the shell."""
    settings = {"metavar": "ID", "shell_complete": complete_cell, **settings}
    return click.argument("cell", **settings)
