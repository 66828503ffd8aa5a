"""Trains one side and prints how its memory grew; see `kcells.bench.memory`.

python -m kcells.bench.memory_child mlstm 64x500x32x128 stock 3
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import resource
import sys
from pathlib import Path

from kcells.bench.contest import Contest
from kcells.bench.measure import first_line
from kcells.bench.sides import SIDES
from kcells.bench.sizes import LoopSize

__all__ = ["main", "peak"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def main(arguments: list[str]) -> None:
    """Prints a line of JSON: the two figures, or an error."""
    name, size, side, steps = arguments
    try:
        found: dict[str, float | str | None] = {
            **figures(name, LoopSize.parse(size), side, int(steps))
        }
    except Exception as error:
        found = {"error": first_line(error)}
    sys.stdout.write(json.dumps(found) + "\n")


def figures(name: str, size: LoopSize, side: str, steps: int) -> dict[str, float | None]:
    """MiB by the name of the figure; None where it cannot be had."""
    # A layer of another kind and size, so that what is imported late is there.
    warm = Contest("simple_rnn", LoopSize(1, 2, 3, 4))
    SIDES["stock"].step(warm, "train")()
    case = Contest(name, size)
    _ = case.inputs
    start = resident()
    # The peak of the warm-up may be above.
    reset_peak()
    little = Contest(name, dataclasses.replace(size, batch=1, length=2))
    _train(little, side, 1)
    highest = peak()
    trim()
    between = resident() if reset_peak() else None
    _train(case, side, steps)
    return {
        "memory": max(highest, peak()) - start,
        "memory_grown": None if between is None else peak() - between,
    }


def _train(case: Contest, side: str, steps: int) -> None:
    step = SIDES[side].step(case, "train")
    for _ in range(steps):
        step()


def peak() -> float:
    """The largest resident memory of this process so far, or since it was set back."""
    own = _status("VmHWM")
    if own is not None:
        return own
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident() -> float:
    """The resident memory now; where nobody knows, the peak."""
    own = _status("VmRSS")
    return peak() if own is None else own


def reset_peak() -> bool:
    """Sets the peak back to what is resident; False where that is not possible."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def trim() -> None:
    """Gives back what the C library keeps of freed memory, where it can."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _status(entry: str) -> float | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) / 1024
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
