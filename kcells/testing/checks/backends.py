"""All backends agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.numbers import FORWARD, GRADIENT, same
from kcells.testing.subject import Subject

__all__ = ["backends", "key_of", "numbers_of"]


@law("backends", "All backends give the same results and gradients for the same weights.")
def backends(subject: Subject) -> None:
    if not subject.recorded:
        raise NotApplicableError("no file of another backend was given: see kcells.testing.record")
    for path in subject.recorded:
        with np.load(path) as arrays:
            _compare(subject, Path(path), dict(arrays))


def _compare(subject: Subject, path: Path, arrays: dict[str, Any]) -> None:
    prefix = key_of(subject, "")
    recorded = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    if not recorded:
        raise ViolationError(f"{path} holds nothing about this case; record it again", str(path))
    # Initial weights are drawn by each backend in its own way.
    count = sum(key.startswith("value ") for key in recorded)
    here = Subject(subject.target, subject.case, subject.seed)
    here.weights = [recorded.pop(f"value {position}") for position in range(count)]
    found = numbers_of(here)
    what = f"between {keras.backend.backend()} and {arrays['backend']}"
    for name, expected in recorded.items():
        tolerance = GRADIENT if name.startswith("gradient") else FORWARD
        if name not in found:
            raise ViolationError(f"{name} is there on {arrays['backend']} alone", name)
        same(found[name], expected, name, tolerance, what)


def key_of(subject: Subject, name: str) -> str:
    """The key of an array in a file that holds several cases."""
    return f"{subject.case.name}|{subject.seed}|{name}"


def numbers_of(subject: Subject) -> dict[str, Any]:
    """Results and gradients, under the names that reports show."""
    found = subject.gradients
    return {
        **found.results,
        **{f"gradient of {name}": gradient for name, gradient in found.gradients.items()},
    }
