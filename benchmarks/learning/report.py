"""The page and the pictures of what cells have learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from learning import store
from learning.problems import PROBLEMS, Problem
from learning.training import Run

__all__ = ["by_cell", "table", "write_report"]

LEARNED = 0.1
"""The share of the way from chance to perfect from which on a cell has learned something."""

UNITS = {
    "error": "mean squared error",
    "accuracy": "accuracy, %",
    "bits": "bits a character",
}


def write_report(runs: Path) -> list[Path]:
    """Writes the table and a picture a problem beside the file of runs.

    Args:
        runs: the file.

    Returns:
        What was written.

    Raises:
        ValueError: if a line of the file is no run.
    """
    from learning.picture import draw

    found = list(store.read(runs).values())
    if not found:
        return []
    page = runs.with_suffix(".md")
    page.write_text(table(found) + "\n", encoding="utf-8")
    pictures = [
        draw(problem, by_cell(found, problem), runs.with_name(f"{runs.stem}-{problem.name}.png"))
        for problem in PROBLEMS.values()
        if by_cell(found, problem)
    ]
    return [page, *pictures]


def by_cell(runs: Iterable[Run], problem: Problem) -> dict[str, list[Run]]:
    """The runs of a problem, best cell first, and of each cell the best run first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.problem == problem.name:
            found.setdefault(run.cell, []).append(run)
    ordered = {
        cell: sorted(own, key=lambda run: _place(problem, run)) for cell, own in found.items()
    }
    return dict(sorted(ordered.items(), key=lambda item: _place(problem, middle(item[1]))))


def _place(problem: Problem, run: Run) -> tuple[int, float]:
    """What runs are ordered by: first those that solved the problem, the fastest in front."""
    if not math.isfinite(run.score):
        return 2, 0.0
    share = problem.above_chance(run.score, run.chance)
    return (0, len(run.curve)) if share >= problem.enough else (1, -share)


def middle(runs: Sequence[Run]) -> Run:
    """The one in the middle, of runs in their order; of two, the worse."""
    return runs[len(runs) // 2]


def table(runs: Sequence[Run]) -> str:
    """One row a cell: the median over the seeds, the best and the worst.

    In brackets is what came less than `LEARNED` of the way from chance to perfect. Where a
    problem ends when it is solved, there stands after how many steps it was.
    """
    found = {problem: by_cell(runs, problem) for problem in PROBLEMS.values()}
    found = {problem: cells for problem, cells in found.items() if cells}
    lines = [
        _row(["cell", *map(_title, found)]),
        "|---" * (1 + len(found)) + "|",
        _row(["*chance*", *(_chance(*item) for item in found.items())]),
    ]
    for cell in sorted({run.cell for run in runs}):
        lines.append(
            _row([f"`{cell}`", *(_entry(p, own.get(cell, [])) for p, own in found.items())])
        )
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _title(problem: Problem) -> str:
    title = f"{problem.name}: {UNITS[problem.measure]}"
    return title if math.isinf(problem.enough) else f"{title}, or steps until solved"


def _chance(problem: Problem, cells: dict[str, list[Run]]) -> str:
    """That of the runs: the data of a problem may change with the library they come from."""
    return ", ".join(
        sorted({_number(problem, run.chance) for own in cells.values() for run in own})
    )


def _entry(problem: Problem, runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    shown = _shown(problem, middle(runs))
    if len(runs) > 1:
        shown += f" ({_shown(problem, runs[0])} to {_shown(problem, runs[-1])})"
    score = middle(runs).score
    has_learned = (
        math.isfinite(score) and problem.above_chance(score, middle(runs).chance) > LEARNED
    )
    return shown if has_learned else f"[{shown}]"


def _shown(problem: Problem, run: Run) -> str:
    if _place(problem, run)[0] == 0:
        return f"{run.steps * (len(run.curve) - 1)} steps"
    return _number(problem, run.score)


def _number(problem: Problem, score: float) -> str:
    if problem.measure == "accuracy":
        return f"{100 * score:.1f}"
    return f"{score:.4f}" if problem.measure == "error" else f"{score:.2f}"
