"""Measures all sides of one workload of one cell at one size."""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kcells.bench.contest import Contest
from kcells.bench.rows import Row
from kcells.bench.sides import OURS, Side
from kcells.bench.timing import Clock, Step, Times, compare, repeats_of
from kcells.build import build
from kcells.explain import explain

__all__ = ["first_line", "measure"]

_COLORS = re.compile(r"\x1b\[[0-9;]*m")
"""Keras writes some messages in bold."""


def measure(
    case: Contest,
    workload: str,
    sides: Sequence[Side],
    rounds: int,
    clock: Clock = time.perf_counter,
) -> list[Row]:
    """One row a side, ours first.

    A side that cannot be made, or whose first steps fail, has a row that says so. If it
    is ours there is nothing to compare, and its row is the only one.
    """
    steps: dict[str, Step] = {}
    repeats: dict[str, int] = {}
    errors: dict[str, str] = {}
    for side in sides:
        try:
            step = side.step(case, workload)
            repeats[side.name] = repeats_of(step, clock)
            steps[side.name] = step
        except Exception as error:
            errors[side.name] = first_line(error)
            if side.name == OURS:
                return [Row(side=OURS, error=errors[OURS], **facts_of(case, workload))]
    try:
        times = compare(steps, rounds, repeats, clock)
    except Exception as error:
        return [Row(side=OURS, error=first_line(error), **facts_of(case, workload))]
    facts = facts_of(case, workload)
    return [
        Row(side=side.name, error=errors[side.name], **facts)
        if side.name in errors
        else _row(side.name, times, rounds, facts)
        for side in sides
    ]


def _row(side: str, times: Times, rounds: int, facts: Mapping[str, Any]) -> Row:
    ours = times.median(OURS) * 1e3
    if side == OURS:
        return Row(side=side, ours=ours, rounds=rounds, **facts)
    ratio = times.ratio(OURS, side)
    return Row(
        side=side,
        ours=ours,
        other=times.median(side) * 1e3,
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        rounds=rounds,
        **facts,
    )


def facts_of(case: Contest, workload: str) -> dict[str, Any]:
    """What the rows of one workload have in common."""
    return {
        "backend": case.backend,
        "cell": case.name,
        "size": str(case.size),
        "workload": workload,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "device": explain(build("lstm", 1)).device,
        "load": load(),
    }


def load() -> float:
    """The load average of the last minute; zero where the system does not tell."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def first_line(error: BaseException) -> str:
    """What an error says, in a line; where a layer failed, not that, but why.

    Examples:

    >>> first_line(ValueError("no\\n  because"))
    'ValueError: no'
    """
    text = _COLORS.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        lines = lines[1:]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
