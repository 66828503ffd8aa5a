"""Many runs, one after the other: which there are, and which are left."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import kcells
from kcells.bench.store import versions
from learning import store
from learning.cells import learning_of
from learning.problems import PROBLEMS, Problem
from learning.training import Learner, Run

__all__ = ["plan", "run"]

Group = tuple[str, Problem, tuple[int, ...]]
"""A cell, a problem and seeds: what one compiled model is for."""


def plan(cells: Sequence[str], problems: Sequence[str], seeds: Iterable[int]) -> list[Group]:
    """What there is to learn, problem by problem.

    Raises:
        UnknownCellError: if there is no such cell.
        ValueError: if there is no such problem.
    """
    for name in problems:
        if name not in PROBLEMS:
            raise ValueError(f"{name!r} is none of the problems: {', '.join(PROBLEMS)}")
    names = [kcells.describe(name).id for name in cells] or [
        info.id for info in kcells.list_cells() if info.distribution != "session"
    ]
    return [
        (name, PROBLEMS[problem], tuple(seeds))
        for problem in problems or PROBLEMS
        for name in names
        if takes_part(name, problem)
    ]


def takes_part(name: str, problem: str) -> bool:
    """Whether a cell can do anything with a problem."""
    return problem in (learning_of(name).problems or PROBLEMS)


def run(groups: Sequence[Group], path: Path, again: bool = False) -> list[str]:
    """Runs what is left, and keeps every run in the file as soon as it is there.

    Returns:
        What went wrong: a cell that cannot learn a problem is no reason to stop the others.
    """
    done = {} if again else store.read(path)
    left = [
        (name, problem, [seed for seed in seeds if (name, problem.name, seed) not in done])
        for name, problem, seeds in groups
    ]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    failures = []
    with Progress(*columns, console=Console(soft_wrap=True)) as progress:
        whole = progress.add_task("runs", total=sum(len(seeds) for _, _, seeds in left))
        for name, problem, seeds in left:
            progress.update(whole, description=f"{problem.name} {name}")
            try:
                _learn(name, problem, seeds, path, progress)
            except Exception as error:
                failures.append(f"{problem.name} {name}: {type(error).__name__}: {error}")
                progress.console.print(failures[-1], markup=False)
            progress.advance(whole, len(seeds))
    return failures


def _learn(
    name: str, problem: Problem, seeds: Sequence[int], path: Path, progress: Progress
) -> None:
    if not seeds:
        return
    learner = Learner(name, problem)
    for seed in seeds:
        found = _run(learner, seed, progress)
        store.append(path, found)
        progress.console.print(f"{problem.name} {name} seed {seed}: {found.score:.3f}")


def _run(learner: Learner, seed: int, progress: Progress) -> Run:
    task = progress.add_task(f"  seed {seed}", total=learner.problem.points)

    def shown(point: int, score: float) -> None:
        progress.update(task, completed=point, description=f"  seed {seed}: {score:.3f}")

    try:
        result = learner.learn(seed, shown)
    finally:
        progress.remove_task(task)
    return Run(
        **result,
        backend=keras.backend.backend(),
        versions={**versions(), "python": platform.python_version()},
        date=datetime.date.today().isoformat(),
    )
