"""The memory that training takes, each side in a process of its own.

Two figures, in MiB of resident memory, without a GPU's:

- `memory`: how far the peak lies above what was resident once all modules were imported
  and the data was made; building, compiling, and some training steps are in it.
- `memory_grown`: how far it lies above what was resident after the same side had trained with one
  sequence of two steps. What every size takes, above all for compiling, is then there already,
  and the rest is what this size needs: mostly the values that the backward pass asks for.

The second needs a peak that can be set back, which Linux has. There the peak is the one of
the process's own memory: `ru_maxrss` starts from the peak of the process that started this
one, if that was larger, and would then hide everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from kcells.bench.contest import Contest
from kcells.bench.measure import facts_of
from kcells.bench.rows import Row
from kcells.bench.sides import OURS, Side

__all__ = ["MEMORY_WORKLOADS", "measure_memory"]

MEMORY_WORKLOADS = ("memory", "memory_grown")

STEPS = 3
"""Training steps; the first one compiles."""

SMALLEST = 1.0
"""MiB. Below this a ratio would be that of two allocators."""


def measure_memory(case: Contest, sides: Sequence[Side]) -> list[Row]:
    """One row a side and figure, ours first."""
    found = {side.name: in_a_process(case, side.name) for side in sides}
    return [
        _row(side.name, found[OURS], found[side.name], facts_of(case, workload))
        for workload in MEMORY_WORKLOADS
        for side in sides
    ]


def _row(side: str, ours: dict[str, Any], other: dict[str, Any], facts: dict[str, Any]) -> Row:
    figure = facts["workload"]
    if error := ours.get("error") or other.get("error"):
        return Row(side=side, unit="MiB", error=error, **facts)
    mine, theirs = ours[figure], other[figure]
    if mine is None or theirs is None:
        reason = "the peak of a process cannot be set back on this system"
        return Row(side=side, unit="MiB", error=reason, **facts)
    if side == OURS:
        return Row(side=side, unit="MiB", ours=mine, rounds=1, **facts)
    ratio = mine / theirs if min(mine, theirs) >= SMALLEST else None
    return Row(
        side=side, unit="MiB", ours=mine, other=theirs, ratio=ratio, low=ratio, high=ratio,
        rounds=1, **facts,
    )  # fmt: skip


def in_a_process(case: Contest, side: str) -> dict[str, Any]:
    """What `memory_child.py` says of one side: the two figures, or an error."""
    command = [sys.executable, "-m", "kcells.bench.memory_child"]
    command += [case.name, str(case.size), side, str(STEPS)]
    done = subprocess.run(  # noqa: S603
        command,
        env={**os.environ, "KERAS_BACKEND": case.backend},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"error": lines[-1] if lines else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
