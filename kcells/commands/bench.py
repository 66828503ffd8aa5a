"""`kcells bench`: cells against stock Keras.

What measures imports Keras, and with it one backend: it is imported when the command
runs. A process that has another backend already starts the command again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from kcells.bench.sizes import DEFAULT_SIZES, LoopSize
from kcells.commands import library
from kcells.commands.names import complete_cell
from kcells.commands.output import UserError
from kcells.errors import KCellsError

__all__ = ["command"]

BACKENDS = ("tensorflow", "jax", "torch")


def _parsed(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[LoopSize, ...]:
    try:
        return tuple(map(LoopSize.parse, texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("bench")
@click.argument("cells", nargs=-1, required=True, metavar="ID...", shell_complete=complete_cell)
@click.option("--backend", type=click.Choice(BACKENDS), help="Left out: Keras' own setting.")
@click.option(
    "--size",
    "sizes",
    metavar="BxTxFxU",
    multiple=True,
    callback=_parsed,
    help="Batch, time steps, features, units; repeat it for several sizes."
    f"  [default: {' and '.join(map(str, DEFAULT_SIZES))}]",
)
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="A PNG.")
def command(
    cells: tuple[str, ...],
    backend: str | None,
    sizes: tuple[LoopSize, ...],
    rounds: int,
    json_path: Path | None,
    picture: Path | None,
) -> None:
    """Times cells against stock Keras, and against the products that they consist of.

    Rows that the file of --json holds already are kept, and not measured again.
    """
    if backend is not None and not library.choose(backend):
        sys.exit(_start_again(backend))
    library.load()
    from kcells.bench.campaign import Campaign, tasks
    from kcells.bench.command import bench_and_report
    from kcells.bench.store import Results, ResultsError

    plan = Campaign(cells=cells, sizes=sizes or None, rounds=rounds)
    try:
        tasks(plan)
        results = Results(json_path)
    except (KCellsError, ResultsError) as error:
        raise UserError(str(error)) from error
    bench_and_report(plan, results, picture)


def _start_again(backend: str) -> int:
    """Runs the same command in a process of another backend."""
    context = click.get_current_context()
    again = [sys.executable, "-m", "kcells", "bench", *context.params["cells"]]
    for option, value in (
        *(("--size", size) for size in context.params["sizes"]),
        ("--rounds", context.params["rounds"]),
        ("--json", context.params["json_path"]),
        ("--picture", context.params["picture"]),
    ):
        again += [] if value is None else [option, str(value)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    return subprocess.run(again, env=environment, check=False).returncode  # noqa: S603
