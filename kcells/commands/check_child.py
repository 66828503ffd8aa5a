"""What `kcells check` does in a process of each backend. This module imports Keras."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from kcells import testing
from kcells.commands.children import reporting
from kcells.errors import KCellsError, PluginLoadError
from kcells.registry import load
from kcells.testing.cases import inputs_with
from kcells.testing.law import Law
from kcells.testing.runner import check_names, planned
from kcells.testing.subject import Subject
from kcells.testing.target import Target
from kcells.types import Structure

__all__ = ["check"]


def check(request: dict[str, Any], report: Callable[..., None]) -> None:
    """Reports every law and its result, or the error that kept the checks from being made.

    Args:
        request: `cell`, `arguments`, `features`, `only`, `seed`; `record`, a file to write
            the numbers of this backend to, and `recorded`, files to compare with.
        report: is told `kind="law"` before a law is looked at, `kind="result"` and its
            fields after it, or `kind="error"`.
    """
    made = {"arguments": request["arguments"], "seed": request["seed"]}
    try:
        made["inputs"] = _inputs(request["cell"], request["features"])
        _look(request, made, report)
        if request["record"]:
            testing.record(request["cell"], request["record"], **made)
    except KCellsError as error:
        report(kind="error", text=str(error), wrong=not isinstance(error, PluginLoadError))
    except (TypeError, ValueError) as error:
        # Laws do not raise: this is the constructor, about what it was given.
        if not request["arguments"]:
            raise
        report(kind="error", text=f"the cell cannot be made so: {error}", wrong=True)


def _inputs(cell: str, features: int | None) -> Structure:
    """The shapes of one step with so many features, as the card has it."""
    return None if features is None else inputs_with(load(cell), features)


def _look(request: dict[str, Any], made: dict[str, Any], report: Callable[..., None]) -> None:
    cell, only, recorded = request["cell"], request["only"] or None, request["recorded"]
    check_names(request["only"])
    results = iter(testing.run_checks(cell, only=only, recorded=recorded, **made))
    target = Target(cell, made["arguments"], made["inputs"])
    for subject, law in planned(target, only, made["seed"], recorded):
        # Said before: a cell may take the process with it.
        report(kind="law", **_facts(subject, law))
        result = next(results)
        report(kind="result", bad=result.is_bad, **_plain(dataclasses.asdict(result)))


def _facts(subject: Subject, law: Law) -> dict[str, str]:
    """What a result would say of a law, whatever comes out."""
    again = subject.target.reproduce(law.name, subject.seed, subject.recorded)
    return {
        "law": law.name,
        "case": subject.case.name,
        "cell": subject.target.title,
        "text": law.text,
        "reproduce": again,
    }


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NumPy numbers, and no word for what is not finite: that goes into the reason."""
    for name in ("difference", "allowed"):
        number = facts[name]
        facts[name] = None if number is None else float(number)
    if facts["difference"] is not None and not math.isfinite(facts["difference"]):
        facts |= {"reason": f"{facts['reason']}: {facts['difference']}", "difference": None}
    return facts


if __name__ == "__main__":
    reporting(check)
