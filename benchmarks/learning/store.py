"""The file of runs: one line of JSON each, written as soon as it is there.

Lines are only ever added, so that two processes may learn different problems at a time, and
whatever stops one loses no more than the run it was at.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from learning.training import Run

__all__ = ["append", "read"]


def read(path: Path) -> dict[tuple[str, str, int], Run]:
    """The runs of a file by their keys; of two with the same key, the later.

    A last line without an end is a run that was cut off while it was written: it is left out.

    Raises:
        ValueError: if a line is no run.
    """
    if not path.exists():
        return {}
    runs = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(True), 1):
        if not line.endswith("\n"):
            break
        try:
            run = Run(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}, is no run ({error}).\n  Name another file, or mend it."
            ) from error
        runs[run.key] = run
    return runs


def append(path: Path, run: Run) -> None:
    """Adds a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        text = file.read()
        if text and not text.endswith("\n"):
            # What is left of a run that was cut off.
            file.truncate(text.rfind("\n") + 1)
        file.write(json.dumps(dataclasses.asdict(run)) + "\n")
