"""A row of the results: one side of one workload of one cell at one size."""

from __future__ import annotations

import dataclasses
from typing import Any

from kcells.text import one_line

__all__ = ["Key", "Row", "printed"]

Key = tuple[str, str, str, str]
"""Backend, cell, size and workload: what is measured in one go."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What came out for one side.

    Attributes:
        backend, cell, size, workload: what was measured.
        side: who was; `"kcells"` for ours alone, which has no ratio.
        unit: of `ours` and `other`, `"ms"` or `"MiB"`.
        ours: the median of ours.
        other: the median of the side.
        ratio: the median of the ratios ours / other of the rounds; below 1 is better.
        low, high: the quartiles of these ratios.
        rounds: how many there were.
        error: why the side could not run; nothing was measured then.
        date: when.
        device: what the backend ran on.
        load: how many processes wanted a core, this one's threads among them.
    """

    backend: str
    cell: str
    size: str
    workload: str
    side: str
    unit: str = "ms"
    ours: float | None = None
    other: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    error: str = ""
    date: str = ""
    device: str = ""
    load: float = 0.0

    @property
    def key(self) -> Key:
        """What this row belongs to."""
        return (self.backend, self.cell, self.size, self.workload)

    def as_json(self) -> dict[str, Any]:
        """The row as a file keeps it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Row:
        """A row of a file.

        Raises:
            TypeError: if it has other entries than a row.
        """
        return cls(**stored)


def printed(row: Row) -> Row:
    """The row as a terminal may have it: its texts come from plugins, and from files."""
    texts: dict[str, Any] = {
        key: one_line(value) for key, value in row.as_json().items() if isinstance(value, str)
    }
    return dataclasses.replace(row, **texts)
