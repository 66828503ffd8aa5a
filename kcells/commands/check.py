"""`kcells check`: the conformance kit on one backend or on several.

Every backend is a process. The first one writes its numbers down, and the others are
compared with them. One that ends within a law breaks that law, and what it found before counts.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from kcells import registry
from kcells.commands.arguments import arguments_option
from kcells.commands.children import BACKENDS, ChildError, default_backend, reports
from kcells.commands.names import id_argument
from kcells.commands.output import (
    Problem,
    UserError,
    answer,
    columns,
    console,
    json_option,
)
from kcells.text import one_line

__all__ = ["command"]

CHILD = "kcells.commands.check_child"

STYLES = {
    "passed": "green",
    "failed": "bold red",
    "skipped": "dim",
    "failed as expected": "yellow",
    "passed unexpectedly": "bold red",
}


@click.command("check")
@id_argument()
@click.option(
    "--backend",
    "backends",
    type=click.Choice(BACKENDS),
    multiple=True,
    help="Left out: Keras' own setting. Of several, each is compared with the first.",
)
@click.option("--only", metavar="LAW", multiple=True, help="A law; repeat it for several.")
@click.option("--units", type=click.IntRange(1), help="Instead of the cell's own cases.")
@click.option("--features", type=click.IntRange(1), help="Numbers in a time step.")
@arguments_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--timeout", type=float, default=900, show_default=True, help="Seconds a backend.")
@json_option
@click.pass_context
def command(context: click.Context, /, cell: str, as_json: bool, **options: Any) -> None:
    """Holds a cell against the laws that every recurrent cell keeps.

    Exit code 1: a law is broken.
    """
    registry.describe(cell)
    backends = tuple(dict.fromkeys(options["backends"])) or (default_backend(),)
    results = list(checked(backends, request(cell, options), options["timeout"]))
    answer(as_json, results, show)
    context.exit(1 if any(result["bad"] for result in results) else 0)


def request(cell: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a child is asked."""
    sizes = {} if options["units"] is None else {"units": options["units"]}
    return {
        "cell": cell,
        "arguments": {**sizes, **options["arguments"]} or None,
        "features": options["features"],
        "only": list(options["only"]),
        "seed": options["seed"],
        "record": None,
        "recorded": [],
    }


def checked(
    backends: tuple[str, ...], asked: dict[str, Any], timeout: float
) -> Iterator[dict[str, Any]]:
    """The results of all backends, one after the other."""
    with tempfile.TemporaryDirectory() as folder, _progress() as progress:
        first = Path(folder, "first.npz")
        for backend in backends:
            files: dict[str, Any] = {}
            if first.exists():
                files = {"recorded": [str(first)]}
            elif len(backends) > 1:
                files = {"record": str(first)}
            yield from _of_backend(backend, asked | files, timeout, progress)


def _of_backend(
    backend: str, asked: dict[str, Any], timeout: float, progress: Callable[..., None]
) -> Iterator[dict[str, Any]]:
    progress(backend, "starts", 0)
    number = 0
    begun = around = _around_the_laws(backend, asked["cell"])
    try:
        for fact in reports(CHILD, asked, backend, timeout):
            kind = fact.pop("kind")
            if kind == "error":
                raise (UserError if fact["wrong"] else Problem)(f"on {backend}: {fact['text']}")
            if kind == "law":
                begun = fact
                progress(backend, fact["law"], number)
            if kind == "result":
                begun = around
                number += 1
                yield fact
    except ChildError as error:
        yield _cut_short(backend, begun, error)


def _around_the_laws(backend: str, cell: str) -> dict[str, Any]:
    """What stands for a law before the first one and after the last one."""
    return {
        "law": "process",
        "case": "",
        "cell": cell,
        "text": "The plugin loads, and the process ends by itself.",
        "reproduce": f"kcells check {cell} --backend {backend}",
    }


def _cut_short(backend: str, begun: dict[str, Any], error: ChildError) -> dict[str, Any]:
    """The result of the law that a process ended in, with the fields of any other result."""
    reason, _, last_lines = f"the process {error}".partition("\n")
    return {
        "bad": True,
        "status": "failed",
        "backend": backend,
        "reason": reason,
        "leaf": "",
        "difference": None,
        "allowed": None,
        "traceback": last_lines,
        **begun,
    }


@contextlib.contextmanager
def _progress() -> Iterator[Callable[..., None]]:
    """Shows on a terminal where the checks are."""
    shown = console(sys.stderr)
    parts = TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*parts, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def progress(backend: str, law: str, number: int) -> None:
            bar.update(task, description=one_line(f"{backend}: {number} checks, {law}"))

        yield progress


# -- As text


def show(console: Console, results: list[dict[str, Any]]) -> None:
    """A table with a column a backend, what failed, and the sum of it."""
    backends = list(dict.fromkeys(result["backend"] for result in results))
    console.print(_table(results, backends))
    skipped = {r["law"]: r["reason"] for r in results if r["status"] == "skipped"}
    for law, reason in skipped.items():
        console.print(Text(f"{law} is skipped: {one_line(reason)}", "dim"))
    for result in results:
        if result["bad"]:
            console.print()
            console.print(Text(_failure(result)), soft_wrap=True)
    console.print()
    for backend in backends:
        of_it = [result for result in results if result["backend"] == backend]
        counts = collections.Counter(result["status"] for result in of_it)
        sums = ", ".join(f"{number} {status}" for status, number in counts.items())
        cases = dict.fromkeys(result["case"] for result in of_it if result["case"])
        console.print(f"{backend}: {sums}" + (f"; cases {', '.join(cases)}" if cases else ""))


def _table(results: list[dict[str, Any]], backends: list[str]) -> Any:
    """A row a law; where its cases differ, how many of them came out how."""
    table = columns("law", *backends)
    for law in dict.fromkeys(result["law"] for result in results):
        shown = []
        for backend in backends:
            of_it = [r for r in results if (r["law"], r["backend"]) == (law, backend)]
            shown.append(_statuses(collections.Counter(r["status"] for r in of_it)))
        table.add_row(law, *shown)
    return table


def _statuses(counts: collections.Counter[str]) -> Text:
    shown = Text()
    for status, number in counts.items():
        text = status if len(counts) == 1 else f"{number} {status}"
        shown.append(f"{', ' if shown else ''}{text}", STYLES.get(status, "default"))
    return shown


def _failure(result: dict[str, Any]) -> str:
    where = f", case {result['case']}" if result["case"] else ""
    lines = [f"{result['law']} {result['status'].upper()}{where}, backend {result['backend']}"]
    reason = result["reason"]
    if result["difference"] is not None:
        reason += f": largest difference {result['difference']:.2g} (allowed {result['allowed']:g})"
    lines += [f"  {line}" for line in reason.splitlines()]
    lines += [f"  Law: {result['text']}", f"  Reproduce: {result['reproduce']}"]
    lines += [f"  {line}" for line in result["traceback"].splitlines()]
    return "\n".join(lines)
