"""What came out of a check, and how it reads."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

from kcells.errors import KCellsError

__all__ = ["ConformanceError", "Report", "Result", "Status"]

Status: TypeAlias = Literal[
    "passed", "failed", "skipped", "failed as expected", "passed unexpectedly"
]


class ConformanceError(KCellsError, AssertionError):
    """A cell breaks a law that it has to keep."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out for one law and one case.

    Attributes:
        law: the name of the law.
        case: the name of the case; empty if there is one alone.
        status: `"passed"`, `"failed"`, `"skipped"`, `"failed as expected"` or
            `"passed unexpectedly"`.
        cell: the cell, with its distribution where it has one.
        backend: the backend of the process.
        reason: why it failed or was skipped.
        leaf: the tensor, weight or argument that shows it.
        difference, allowed: by how much it is off, relative to its largest entry.
        text: the law itself.
        reproduce: a line of Python that does it again.
        traceback: of an exception that nobody expected.
    """

    law: str
    case: str
    status: Status
    cell: str = ""
    backend: str = ""
    reason: str = ""
    leaf: str = ""
    difference: float | None = None
    allowed: float | None = None
    text: str = ""
    reproduce: str = ""
    traceback: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether somebody has to do something."""
        return self.status in ("failed", "passed unexpectedly")

    def __str__(self) -> str:
        where = f", case {self.case}" if self.case else ""
        lines = [f"{self.law} {self.status.upper()}: {self.cell}{where}, backend {self.backend}"]
        lines += [f"  {line}".rstrip() for line in self._reason().splitlines()]
        if self.is_bad:
            lines += [f"  Law: {self.text}", f"  Reproduce: {self.reproduce}"]
        lines += [f"  {line}" for line in self.traceback.rstrip().splitlines()]
        return "\n".join(lines)

    def _reason(self) -> str:
        if self.difference is None:
            return self.reason
        return f"{self.reason}: largest difference {self.difference:.2g} (allowed {self.allowed:g})"


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of all laws for one cell.

    Attributes:
        results: one for each law and case.
    """

    results: Sequence[Result]

    @property
    def failures(self) -> tuple[Result, ...]:
        """What failed, or passed although it was expected to fail."""
        return tuple(result for result in self.results if result.is_bad)

    def raise_if_failed(self) -> None:
        """Raises `ConformanceError` with every failure, if there is one."""
        if self.failures:
            raise ConformanceError("\n\n".join(map(str, self.failures)))

    def __str__(self) -> str:
        counts = Counter(result.status for result in self.results)
        summary = ", ".join(f"{number} {status}" for status, number in counts.items())
        return "\n\n".join([*map(str, self.failures), summary])
