"""The file of results: rows that survive an interrupt, and what they were measured on.

    {"format": 1, "machine": {...}, "versions": {"jax": {...}}, "rows": [{...}, ...]}

A file belongs to one machine. It may hold rows of several backends, and is written as a
whole after each workload: to a file beside it, which then takes its place.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from kcells.bench.rows import Key, Row

__all__ = ["Results", "ResultsError", "machine", "versions"]

FORMAT = 1


class ResultsError(ValueError):
    """A file that holds no results, or those of another machine."""


def machine() -> dict[str, Any]:
    """What the figures are measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The versions of what takes part, as far as it is installed."""
    names = ("kcells", "keras", keras.backend.backend(), "numpy", "tf_keras", "torchrecurrent")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Results:
    """Rows, and the file that keeps them, if there is one.

    Args:
        path: the file. What it holds already is read.
        again: whether everything is to be measured again. Rows of another machine are
            then left out, instead of being in the way.

    Attributes:
        rows: all rows, in the order in which they were measured.

    Raises:
        ResultsError: if the file is no file of results, or of another machine.
    """

    def __init__(self, path: Path | None = None, *, again: bool = False) -> None:
        self.path = path
        self.machine = machine()
        self.versions: dict[str, dict[str, str]] = {}
        self.rows: list[Row] = []
        if path is not None and path.exists():
            self._read(path, again)

    def _read(self, path: Path, again: bool) -> None:
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] != FORMAT:
                raise ValueError(f"format {stored['format']}, and {FORMAT} is needed")
            rows = [Row.from_json(row) for row in stored["rows"]]
            theirs, versions_there = dict(stored["machine"]), dict(stored["versions"])
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                f"{path} holds no results of this benchmark ({type(error).__name__}: {error}).\n"
                "  Name another file, or remove this one."
            ) from error
        differing = [f for f in ("processor", "cores") if theirs.get(f) != self.machine[f]]
        if rows and differing:
            if again:
                return
            fact = differing[0]
            raise ResultsError(
                f"{path} was measured on another machine.\n"
                f"  {fact} there: {theirs.get(fact)}\n  {fact} here:  {self.machine[fact]}\n"
                "  Name another file, or measure all of it again: rows of two machines do not mix."
            )
        self.rows, self.versions = rows, versions_there

    def replace(self, rows: Iterable[Row]) -> None:
        """Takes in rows, in the place of those with their keys, and saves them."""
        rows = list(rows)
        keys: set[Key] = {row.key for row in rows}
        self.rows = [row for row in self.rows if row.key not in keys] + rows
        self.versions[keras.backend.backend()] = versions()
        self.save()

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)

    def as_json(self) -> dict[str, Any]:
        """All of it, as the file keeps it."""
        return {
            "format": FORMAT,
            "machine": self.machine,
            "versions": self.versions,
            "rows": [row.as_json() for row in self.rows],
        }
