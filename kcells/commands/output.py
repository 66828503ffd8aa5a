"""What all subcommands print with: a console, JSON, and errors with an exit code.

Names and texts come from the metadata of any package, and from files: none is read as
markup, and no control character reaches the terminal. `answer` sees to that for all data, and
the errors for their messages; a field that has to stay in its line goes through `one_line` too.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcells.text import one_line, printable, printable_data

__all__ = [
    "Problem",
    "UserError",
    "allow_any_text",
    "answer",
    "columns",
    "console",
    "heading",
    "json_option",
    "own_stdout",
    "reasons_table",
]

PIPE_WIDTH = 200
"""Of what goes to a file or another program, unless COLUMNS says otherwise."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Printable(click.ClickException):
    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Problem(_Printable):
    """What was asked about has a problem."""

    exit_code = 1


class UserError(_Printable):
    """The question has a problem; the message says how it is mended."""

    exit_code = 2


def json_option(function: _Function) -> _Function:
    """The option `--json`, as `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
    return option(function)


def console(stream: IO[str] | None = None) -> Console:
    """Where text goes: standard output, or what is given."""
    stream = sys.stdout if stream is None else stream
    environ = dict(os.environ)
    if not _is_width(environ.get("COLUMNS", "")):
        environ.pop("COLUMNS", None)  # rich would print nothing in 0 columns.
    made = Console(file=stream, highlight=False, markup=False, emoji=False, _environ=environ)
    if not made.is_terminal and "COLUMNS" not in environ:
        made.width = PIPE_WIDTH
    return made


def _is_width(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


def allow_any_text() -> None:
    """What standard output and error have no letter for becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def answer(as_json: bool, data: Any, show: Callable[[Console, Any], None]) -> None:
    """Prints `data` as JSON, which escapes what is not ASCII, or what `show` makes of it."""
    if as_json:
        click.echo(json.dumps(data, indent=2))
    else:
        show(console(), printable_data(data))


@contextlib.contextmanager
def own_stdout(as_json: bool) -> Iterator[None]:
    """Sends to standard error what others print, where standard output is for JSON.

    What native code and other programs print goes past Python's standard output, straight
    to the file descriptor.
    """
    if not as_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr), _descriptor_of_stderr():
        yield


@contextlib.contextmanager
def _descriptor_of_stderr() -> Iterator[None]:
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        _flush_native()
        os.dup2(before, 1)
        os.close(before)


def _flush_native() -> None:
    """Writes what C has printed and kept back, which would otherwise come after the JSON."""
    with contextlib.suppress(Exception):  # Not every system has its C library under no name.
        ctypes.CDLL(None).fflush(None)


def columns(*names: str) -> Table:
    """A table; if it is too wide, its widest columns are broken into lines, and nothing is lost."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def reasons_table(reasons: Sequence[dict[str, Any]], title: str = "condition") -> Table:
    """Conditions with their answers; a reason is `condition`, `holds`, `detail`."""
    table = columns(title, "holds", "because")
    for reason in reasons:
        holds = Text("yes", "green") if reason["holds"] else Text("no", "red")
        table.add_row(one_line(reason["condition"]), holds, one_line(reason["detail"]))
    return table


def heading(text: str) -> Text:
    """The title of a part."""
    return Text(text, style="bold cyan")
