"""`kcells list`: what is installed, from metadata alone."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from kcells import registry
from kcells.commands.names import is_ambiguous, name_of
from kcells.commands.output import answer, columns, json_option
from kcells.registry.info import CellInfo
from kcells.registry.trust import VARIABLE
from kcells.text import one_line

__all__ = ["command"]

REMARKS = {
    "hidden": f"{VARIABLE} is set and does not name the distribution.",
    "ambiguous": 'several distributions declare it; say which one, as in "distribution:cell".',
    "by its qualified id": 'kcells owns the bare name; say "distribution:cell".',
}


@click.command("list")
@click.argument("pattern", required=False)
@json_option
@click.pass_context
def command(context: click.Context, pattern: str | None, as_json: bool) -> None:
    """Lists the installed cells, with the paths that they declare.

    PATTERN is a part of an id or of the name of a distribution, or, with *, ? or [,
    a pattern for the whole of one. No plugin is imported. Exit code 1: none is found.
    """
    rows = [row for row in found() if pattern is None or matches(pattern, row)]
    answer(as_json, rows, show)
    context.exit(0 if rows else 1)


def found() -> list[dict[str, Any]]:
    """Every declared cell as plain data, sorted by id."""
    visible, hidden = registry.list_cells(), registry.hidden_cells()
    return [_row(info, visible, info in hidden) for info in sorted([*visible, *hidden])]


def _row(info: CellInfo, visible: Sequence[CellInfo], hidden: bool) -> dict[str, Any]:
    return {
        "id": info.id,
        "name": info.qualified_id if hidden else name_of(info, visible),
        "distribution": info.distribution,
        "version": info.version,
        "summary": info.summary,
        "paths": list(info.paths),
        "hidden": hidden,
        "ambiguous": not hidden and is_ambiguous(info.id, visible),
    }


def matches(pattern: str, row: dict[str, Any]) -> bool:
    """Whether a pattern means this cell."""
    texts = [row["id"].lower(), row["distribution"].lower()]
    pattern = pattern.lower()
    if any(character in pattern for character in "*?["):
        return any(fnmatch.fnmatchcase(text, pattern) for text in texts)
    return any(pattern in text for text in texts)


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """A table of the cells, and one of the distributions that they come from."""
    if not rows:
        console.print("No cell is found. `kcells list` without a pattern lists all.")
        return
    remarks = [_remark(row) for row in rows]
    titles = ["cell", "paths", "distribution", "version"]
    table = columns(*titles, *(["remark"] if any(remarks) else []))
    for row, remark in zip(rows, remarks, strict=True):
        texts = [row["id"], ", ".join(row["paths"]), row["distribution"], row["version"]]
        cells = [one_line(text) for text in texts]
        styled = Text(cells[0], style="dim" if row["hidden"] else "bold green")
        table.add_row(styled, *cells[1:], *([Text(remark, "yellow")] if any(remarks) else []))
    console.print(table)
    for remark in dict.fromkeys(filter(None, remarks)):
        console.print(f"\n{remark}: {REMARKS[remark]}")
    console.print()
    console.print(_summaries(rows))


def _remark(row: dict[str, Any]) -> str:
    if row["hidden"]:
        return "hidden"
    if row["ambiguous"]:
        return "ambiguous"
    return "" if row["name"] == row["id"] else "by its qualified id"


def _summaries(rows: Sequence[dict[str, Any]]) -> Any:
    table = columns("distribution", "summary")
    for name, summary in sorted({(row["distribution"], row["summary"]) for row in rows}):
        table.add_row(one_line(name), one_line(summary))
    return table
