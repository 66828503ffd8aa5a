"""Learning curves: a small picture for each cell, all on the same axes.

Sixty curves in one pair of axes cannot be told apart. So each cell has its own, its seeds in
colour, with the curves of all other cells behind them in grey to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learning.problems import Problem
from learning.training import Run

__all__ = ["draw"]

COLUMNS = 8
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")


def draw(problem: Problem, cells: Mapping[str, Sequence[Run]], path: Path) -> Path:
    """Draws the curves of a problem.

    Args:
        problem: what was learned.
        cells: the runs of each cell, the best one first.
        path: the PNG.

    Returns:
        `path`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = math.ceil(len(cells) / COLUMNS)
    figure, grid = pyplot.subplots(
        rows,
        COLUMNS,
        figsize=(1.7 * COLUMNS, 1.3 * rows + 0.8),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    everything = [run for runs in cells.values() for run in runs]
    lowest = min(min(run.curve) for run in everything)
    for axes, (name, runs) in zip(grid.flat, cells.items(), strict=False):
        for run in everything:
            axes.plot(*_points(run), color="#dddddd", linewidth=0.3, zorder=1)
        axes.axhline(runs[0].chance, color="#777777", linewidth=0.8, linestyle=":", zorder=2)
        for color, run in zip(COLORS, sorted(runs, key=lambda run: run.seed), strict=False):
            axes.plot(*_points(run), color=color, linewidth=1.1, zorder=3)
        axes.set_title(name, fontsize=8, pad=2)
        axes.tick_params(labelsize=6, length=2)
        _limit(axes, problem, runs[0].chance, lowest)
    for axes in grid.flat[len(cells) :]:
        axes.set_visible(False)
    figure.suptitle(_caption(problem), fontsize=10)
    figure.supxlabel("training steps", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _points(run: Run) -> tuple[list[int], list[float]]:
    return [run.steps * point for point in range(len(run.curve))], run.curve


def _limit(axes: Any, problem: Problem, chance: float, lowest: float) -> None:
    """What is far beyond chance says nothing more."""
    if problem.measure == "accuracy":
        axes.set_ylim(0, 1.03)
    elif problem.measure == "error":
        axes.set_ylim(0, 1.5 * chance)
    else:
        axes.set_ylim(0.9 * lowest, 1.2 * chance)


def _caption(problem: Problem) -> str:
    measured = {
        "accuracy": "accuracy",
        "error": "mean squared error",
        "bits": "bits a character",
    }[problem.measure]
    return (
        f"{problem.title}: {measured} on examples held out. A colour a seed; dotted: chance;"
        " grey: all other cells"
    )
