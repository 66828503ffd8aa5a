"""Times of several sides, paired and repeated.

A time says little on a machine that does other things too; the ratio of two times that
were taken one right after the other says more. So every round runs each side once, in
an order that rotates, and what is reported is the median of the ratios of the rounds.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Clock", "Loop", "Ratio", "Step", "Times", "compare", "repeats_of", "rotated"]

Step = Callable[[], object]
"""What is timed. It comes back when the work is done, not when it is queued."""


@dataclasses.dataclass(frozen=True)
class Loop:
    """A step that repeats itself better than a loop of Python would.

    Attributes:
        run: does the work as often as it is told.
    """

    run: Callable[[int], object]

    def __call__(self) -> object:
        return self.run(1)


Clock = Callable[[], float]
"""Seconds, as `time.perf_counter` gives them."""

SHORTEST = 0.05
"""A step is repeated until it takes that many seconds, or the clock would matter."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The ratios of the rounds: their median, and their quartiles.

    Attributes:
        median: below 1 where ours is faster.
        low: a quarter of the rounds lies below.
        high: a quarter of the rounds lies above.
    """

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds that a step took, for every side one entry a round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, side: str) -> float:
        """The median of one side."""
        return statistics.median(self.seconds[side])

    def ratio(self, ours: str, other: str) -> Ratio:
        """How `ours` compares with `other`, from one round to the next."""
        pairs = zip(self.seconds[ours], self.seconds[other], strict=True)
        return ratio_of([a / b for a, b in pairs])


def ratio_of(ratios: Sequence[float]) -> Ratio:
    """Median and quartiles.

    Examples:

    >>> ratio_of([0.5, 0.4, 0.6, 0.45, 0.55])
    Ratio(median=0.5, low=0.45, high=0.55)
    """
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def compare(
    steps: Mapping[str, Step],
    rounds: int,
    repeats: Mapping[str, int] | None = None,
    clock: Clock = time.perf_counter,
) -> Times:
    """Times every side, once a round.

    Args:
        steps: what to run, by the name of the side.
        rounds: how often each side is timed.
        repeats: how often a side's step runs in one round; left out, `repeats_of`.
        clock: for tests.
    """
    if repeats is None:
        repeats = {side: repeats_of(step, clock) for side, step in steps.items()}
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for turn in range(rounds):
        for side in rotated(list(steps), turn):
            seconds[side].append(_seconds(steps[side], repeats[side], clock))
    return Times(seconds)


def rotated(sides: Sequence[str], turn: int) -> list[str]:
    """The order of one round: each side comes first, last and in between as often.

    Examples:

    >>> [rotated(["a", "b", "c"], turn) for turn in range(3)]
    [['a', 'b', 'c'], ['b', 'c', 'a'], ['c', 'a', 'b']]
    """
    first = turn % len(sides)
    return [*sides[first:], *sides[:first]]


def repeats_of(step: Step, clock: Clock = time.perf_counter) -> int:
    """How often `step` has to run to take `SHORTEST` seconds; warms it up too."""
    step()
    step()
    return max(1, int(SHORTEST / max(_seconds(step, 1, clock), 1e-6)))


def _seconds(step: Step, repeats: int, clock: Clock) -> float:
    start = clock()
    if isinstance(step, Loop):
        step.run(repeats)
    else:
        for _ in range(repeats):
            step()
    return (clock() - start) / repeats
