"""Tables and progress on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kcells.bench.campaign import Notice
from kcells.bench.rows import Key, Row
from kcells.bench.sides import OURS, SIDES
from kcells.text import one_line

__all__ = ["Watcher", "console", "notes", "table", "watching"]

WIDTH = 140
"""Of what is written to a file or a pipe."""


def console(stream: IO[str] | None = None) -> Console:
    """Where tables go: standard output, or what is given."""
    stream = sys.stdout if stream is None else stream
    width = None if stream.isatty() else WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def table(rows: Sequence[Row]) -> Table:
    """A line for each workload: ours in ms or MiB, and the ratios to the other sides."""
    sides = [name for name in SIDES if name != OURS and any(row.side == name for row in rows)]
    made = Table(title="kcells / other side, median of the rounds (quartiles); below 1 is better")
    for name in ("backend", "cell", "size", "workload"):
        made.add_column(name, no_wrap=True)
    for name in (OURS, *sides):
        made.add_column(name, justify="right", no_wrap=True)
    for key, of_key in by_key(rows):
        own = next((row.ours for row in of_key.values() if row.ours is not None), None)
        unit = next(iter(of_key.values())).unit
        shown = [ratio_text(of_key.get(side)) for side in sides]
        ours = "cannot run" if own is None else f"{number(own)} {unit}"
        made.add_row(*key, ours, *shown)
    return made


def by_key(rows: Iterable[Row]) -> Iterator[tuple[Key, dict[str, Row]]]:
    """The rows of each workload, by side."""
    found: dict[Key, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.key, {})[row.side] = row
    return iter(found.items())


def ratio_text(row: Row | None) -> str:
    """A ratio and its quartiles, or what there is instead."""
    if row is None:
        return ""
    if row.error:
        return "cannot run"
    if row.ratio is None or row.low is None or row.high is None:
        return f"({number(row.other or 0)} {row.unit})"
    if row.low == row.high:
        return number(row.ratio)
    return f"{number(row.ratio)} ({number(row.low)}-{number(row.high)})"


def number(value: float) -> str:
    """Two or three digits that count.

    Examples:

    >>> [number(value) for value in (0.1234, 1.234, 12.34, 1234.5)]
    ['0.12', '1.23', '12.3', '1234']
    """
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def notes(rows: Sequence[Row]) -> list[str]:
    """What to know about the figures: why sides could not run, and whether others were busy."""
    cells: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        if row.error:
            cells.setdefault((row.backend, row.side, row.error), set()).add(row.cell)
    lines = [
        f"{side} cannot run {', '.join(sorted(names))} on {backend}: {error}"
        for (backend, side, error), names in cells.items()
    ]
    return [*lines, *_busy(rows)]


def _busy(rows: Sequence[Row]) -> list[str]:
    """Threads that wait for each other wait long where others use the cores."""
    cores = os.cpu_count() or 1
    loads = [row.load for row in rows]
    busy = sum(load > 1.5 * cores for load in loads)
    if not busy:
        return []
    return [
        f"The machine was busy during {busy} of {len(loads)} rows: a load of up to {max(loads)} on"
        f" {cores} cores. The quartiles show where that mattered."
    ]


class Watcher:
    """Shows a run while it goes on: a bar on a terminal, else a line for each task."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._bar = progress.add_task("", total=None)
        self._start = time.monotonic()

    def __call__(self, notice: Notice) -> None:
        self._progress.update(
            self._bar,
            description=one_line(notice.task),
            completed=notice.number,
            total=notice.total,
        )
        if notice.rows is None:
            return
        outcome = ", ".join(
            f"{row.side} {ratio_text(row)}" for row in notice.rows if row.side != OURS or row.error
        )
        spent = time.monotonic() - self._start
        self._console.print(
            one_line(f"{notice.number}/{notice.total}  {spent:.0f} s  {notice.task}: {outcome}"),
            soft_wrap=True,
        )


@contextmanager
def watching() -> Iterator[Watcher]:
    """A watcher on standard error."""
    shown = console(sys.stderr)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        yield Watcher(shown, progress)
