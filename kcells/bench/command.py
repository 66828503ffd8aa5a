"""What the script and the command do once they know what is wanted."""

from __future__ import annotations

from pathlib import Path

import keras

from kcells.bench import report
from kcells.bench.campaign import Campaign, own_sizes, run, tasks
from kcells.bench.memory import MEMORY_WORKLOADS
from kcells.bench.rows import Row, printed
from kcells.bench.store import Results

__all__ = ["bench_and_report"]


def bench_and_report(plan: Campaign, results: Results, picture: Path | None = None) -> None:
    """Measures what is left, prints the table of the plan, and draws the pictures.

    Args:
        plan: what to measure.
        results: where rows come from and go to.
        picture: where the chart of the ratios goes; further pictures go beside it.

    Raises:
        ImportError: if a picture is wanted and matplotlib is not there.
    """
    if picture is not None:
        from kcells.bench import picture as pictures

        pictures.check_matplotlib()
    with report.watching() as watcher:
        run(plan, results, watcher)
    rows = rows_of(plan, results)
    shown = report.console()
    shown.print(report.table([printed(row) for row in rows]))
    for note in report.notes([printed(row) for row in rows]):
        shown.print(note, soft_wrap=True)
    if picture is not None:
        grown = [row for row in rows if is_grown(row, plan)]
        others = [row for row in rows if row not in grown]
        written = pictures.draw_ratios(others, results, picture)
        written += pictures.draw_growth(rows, results, picture) if grown else []
        for path in written:
            shown.print(f"picture: {path}", soft_wrap=True)


def is_grown(row: Row, plan: Campaign) -> bool:
    """Whether a row is there for the sake of a sweep alone."""
    own = row.workload in MEMORY_WORKLOADS or row.size in map(str, own_sizes(row.cell, plan))
    return bool(plan.grown) and not own


def rows_of(plan: Campaign, results: Results) -> list[Row]:
    """The rows that a plan is about, in its order; a file may hold others too."""
    backend = keras.backend.backend()
    wanted = [(t.case.name, str(t.case.size), w) for t in tasks(plan) for w in t.workloads]
    return [
        row
        for entry in wanted
        for row in results.rows
        if row.backend == backend and (row.cell, row.size, row.workload) == entry
    ]
