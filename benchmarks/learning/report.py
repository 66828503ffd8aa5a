"""The page and the pictures of what cells have learned."""

from __future__ import annotations

import statistics
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
    """The runs of a problem, best cell first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.problem == problem.name:
            found.setdefault(run.cell, []).append(run)
    return dict(sorted(found.items(), key=lambda item: -problem.above_chance(middle(item[1]))))


def middle(runs: Iterable[Run]) -> float:
    """The median of the scores."""
    return statistics.median(run.score for run in runs)


def table(runs: Sequence[Run]) -> str:
    """One row a cell: the median over the seeds, and the range where there are several.

    What is no better than chance is in brackets.
    """
    problems = [problem for problem in PROBLEMS.values() if by_cell(runs, problem)]
    cells = sorted({run.cell for run in runs})
    lines = [
        _row(["cell", *(f"{problem.name}: {UNITS[problem.measure]}" for problem in problems)]),
        "|---" * (1 + len(problems)) + "|",
        _row(["*chance*", *(_shown(problem, problem.chance) for problem in problems)]),
    ]
    for cell in cells:
        found = [by_cell(runs, problem).get(cell, []) for problem in problems]
        lines.append(_row([f"`{cell}`", *map(_entry, problems, found)]))
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _entry(problem: Problem, runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    scores = sorted(run.score for run in runs)
    shown = _shown(problem, middle(runs))
    if len(scores) > 1:
        shown += f" ({_shown(problem, scores[0])} to {_shown(problem, scores[-1])})"
    return shown if problem.above_chance(middle(runs)) > LEARNED else f"[{shown}]"


def _shown(problem: Problem, score: float) -> str:
    if problem.measure == "accuracy":
        return f"{100 * score:.1f}"
    return f"{score:.4f}" if problem.measure == "error" else f"{score:.2f}"
