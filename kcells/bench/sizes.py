"""Sizes, and lists of sizes that grow along one axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

__all__ = ["BASE", "DEFAULT_SIZES", "MEMORY_SIZES", "LoopSize", "sweep"]


@dataclasses.dataclass(frozen=True, order=True)
class LoopSize:
    """How much a layer has to do.

    Attributes:
        batch: sequences in a batch.
        length: time steps of a sequence.
        features: numbers in a time step.
        units: what the cell is made with.

    Examples:

    >>> str(LoopSize.parse("8x200x32x64"))
    '8x200x32x64'
    """

    batch: int
    length: int
    features: int
    units: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.length}x{self.features}x{self.units}"

    @classmethod
    def parse(cls, text: str) -> LoopSize:
        """A size as it is written on a command line.

        Raises:
            ValueError: if `text` is not four positive ints with an "x" between them.
        """
        parts = text.strip().lower().split("x")
        if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(
                f"{text!r} is no size: write batch, time steps, features and units as four"
                ' positive ints, such as "8x200x32x64".'
            )
        return cls(*map(int, parts))


DEFAULT_SIZES = (LoopSize(8, 200, 32, 64), LoopSize(1, 200, 32, 64))

MEMORY_SIZES = (LoopSize(64, 500, 32, 128),)
"""Where the steps that a backward pass remembers outweigh everything else."""

BASE = LoopSize(8, 100, 32, 64)
"""What stays the same along the axes of a sweep."""


def sweep(
    base: LoopSize = BASE,
    lengths: Iterable[int] = (10, 100, 1000),
    batches: Iterable[int] = (1, 8, 64),
    units: Iterable[int] = (32, 256),
) -> list[LoopSize]:
    """`base`, and sizes that differ from it in one number.

    Examples:

    >>> [str(size) for size in sweep(lengths=[10], batches=[1], units=[256])]
    ['8x100x32x64', '8x10x32x64', '1x100x32x64', '8x100x32x256']
    """
    grown = [
        base,
        *(dataclasses.replace(base, length=value) for value in lengths),
        *(dataclasses.replace(base, batch=value) for value in batches),
        *(dataclasses.replace(base, units=value) for value in units),
    ]
    return unique(grown)


def unique(sizes: Sequence[LoopSize]) -> list[LoopSize]:
    """Each size once, in the order in which they come first."""
    return list(dict.fromkeys(sizes))
