"""What `kcells check` does in a process of each backend. This module imports Keras."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from kcells import testing
from kcells.commands.children import reporting
from kcells.errors import (
    AmbiguousCellError,
    ArgumentError,
    ConfigurationError,
    KCellsError,
    UnknownCellError,
)

__all__ = ["check"]

WRONG_QUESTIONS = (UnknownCellError, AmbiguousCellError, ArgumentError, ConfigurationError)


def check(request: dict[str, Any], report: Callable[..., None]) -> None:
    """Reports every result, or the error that kept the checks from being made.

    Args:
        request: `cell`, `arguments`, `inputs`, `only`, `seed`; `record`, a file to write
            the numbers of this backend to, and `recorded`, files to compare with.
        report: is told `kind="result"` and its fields, or `kind="error"`.
    """
    made = {"arguments": request["arguments"], "seed": request["seed"]}
    made["inputs"] = None if request["features"] is None else (request["features"],)
    only = request["only"] or None
    try:
        for result in testing.run_checks(
            request["cell"], only=only, recorded=request["recorded"], **made
        ):
            report(kind="result", bad=result.is_bad, **_plain(dataclasses.asdict(result)))
        if request["record"]:
            testing.record(request["cell"], request["record"], **made)
    except KCellsError as error:
        report(kind="error", text=str(error), wrong=isinstance(error, WRONG_QUESTIONS))


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
