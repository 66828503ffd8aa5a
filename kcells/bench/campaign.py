"""Many measurements, one after the other: which there are, and which are left."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import keras

from kcells.bench.contest import Contest
from kcells.bench.measure import measure
from kcells.bench.memory import MEMORY_WORKLOADS, measure_memory
from kcells.bench.rows import Row
from kcells.bench.sides import OURS, WORKLOADS, Side, chosen_sides
from kcells.bench.sizes import DEFAULT_SIZES, LoopSize, unique
from kcells.bench.store import Results
from kcells.cells.card import Workload, card_of
from kcells.registry import describe, list_cells, load

__all__ = ["Campaign", "Notice", "Task", "own_sizes", "run", "tasks"]

MEMORY = "memory"
"""The task that gives both figures of memory."""


@dataclasses.dataclass(frozen=True)
class Campaign:
    """What to measure.

    Attributes:
        cells: ids; empty for all that are installed.
        sizes: None for the default ones, or a cell's own where it has some.
        workloads: those to time.
        grown: further sizes, of a sweep.
        memory: sizes for which memory is measured; empty to leave it out.
        variants: names of sides that take part though they do not by default.
        rounds: how often each side is timed.
        again: whether to measure what the file holds already.
    """

    cells: tuple[str, ...] = ()
    sizes: tuple[LoopSize, ...] | None = None
    workloads: tuple[str, ...] = WORKLOADS
    grown: tuple[LoopSize, ...] = ()
    memory: tuple[LoopSize, ...] = ()
    variants: tuple[str, ...] = ()
    rounds: int = 15
    again: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """One measurement: all sides of a workload of a cell at a size."""

    case: Contest
    workload: str
    sides: tuple[Side, ...]

    def __str__(self) -> str:
        return f"{self.case.name} {self.case.size} {self.workload}"

    @property
    def workloads(self) -> tuple[str, ...]:
        """Those of the rows that come out."""
        return MEMORY_WORKLOADS if self.workload == MEMORY else (self.workload,)

    def is_in(self, results: Results) -> bool:
        """Whether there is nothing left to do: ours was measured, and every side is there."""
        key = (self.case.backend, self.case.name, str(self.case.size), self.workload)
        found = {row.side: row for row in results.rows if row.key == key}
        measured = OURS in found and found[OURS].ours is not None
        return measured and {side.name for side in self.sides} <= set(found)

    def run(self, rounds: int) -> list[Row]:
        """Measures."""
        if self.workload == MEMORY:
            return measure_memory(self.case, self.sides)
        return measure(self.case, self.workload, self.sides, rounds)


@dataclasses.dataclass(frozen=True)
class Notice:
    """Where a run stands, for who shows it.

    Attributes:
        task: the one that begins, or that has ended.
        number: how many of the tasks that are left have ended.
        total: how many were left at the start.
        rows: what came out; None if the task begins.
    """

    task: Task
    number: int
    total: int
    rows: Sequence[Row] | None = None


def tasks(plan: Campaign) -> list[Task]:
    """All tasks of a plan, in order.

    Raises:
        UnknownCellError, AmbiguousCellError: if a name does not lead to one cell.
    """
    names = plan.cells or tuple(info.id for info in list_cells())
    for name in names:
        describe(name)
    return [task for name in names for task in _tasks_of(name, plan)]


def _tasks_of(name: str, plan: Campaign) -> list[Task]:
    scaled = functools.partial(_scaled, _workload(name))
    timed = [
        _task(Contest(name, size), workload, plan)
        for size in unique([*own_sizes(name, plan), *map(scaled, plan.grown)])
        for workload in plan.workloads
    ]
    kept = [_task(Contest(name, scaled(size)), MEMORY, plan) for size in plan.memory]
    return [task for task in (*timed, *kept) if task.sides]


def own_sizes(name: str, plan: Campaign) -> tuple[LoopSize, ...]:
    """The sizes at which a cell is timed, without those of a sweep."""
    if plan.sizes is not None:
        return plan.sizes
    return tuple(LoopSize(*size) for size in _workload(name).sizes) or DEFAULT_SIZES


def _workload(name: str) -> Workload:
    return card_of(load(name)).workload


def _scaled(workload: Workload, size: LoopSize) -> LoopSize:
    """A size that is meant for all cells, for this one."""
    return dataclasses.replace(size, units=max(1, size.units // workload.divisor))


def _task(case: Contest, workload: str, plan: Campaign) -> Task:
    if workload == MEMORY:
        # What a training step needs; the floor needs nothing.
        training = chosen_sides(case.name, "train", plan.variants)
        sides = [side for side in training if side.name != "floor"]
    else:
        sides = chosen_sides(case.name, workload, plan.variants)
    return Task(case, workload, tuple(sides))


def run(
    plan: Campaign, results: Results, notify: Callable[[Notice], None] = lambda notice: None
) -> None:
    """Does what is left of a plan; `results` are saved after each task.

    Args:
        plan: what to measure.
        results: where the rows go. What they hold already is not measured again, unless
            the plan says so.
        notify: called when a task begins and when it has ended.
    """
    left = [task for task in tasks(plan) if plan.again or not task.is_in(results)]
    for number, task in enumerate(left):
        notify(Notice(task, number, len(left)))
        rows = task.run(plan.rounds)
        results.replace(rows)
        notify(Notice(task, number + 1, len(left), rows))
        # Programs and variables of a model that is gone.
        keras.backend.clear_session()
