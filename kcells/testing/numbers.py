"""Comparing structures of numbers, leaf by leaf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kcells.structure import leaves_with_paths, map_leaves, outline
from kcells.testing.law import ViolationError
from kcells.types import Structure

__all__ = ["FORWARD", "GRADIENT", "all_finite", "as_numpy", "same"]

FORWARD = 1e-5
"""How far results in float32 may be apart, relative to the largest entry."""
GRADIENT = 1e-4
"""How far gradients in float32 may be apart; sums over all steps lose more."""
_SMALLEST_SCALE = 1e-3


def as_numpy(structure: Structure) -> Structure:
    """Every leaf as an array, floats in float64."""

    def convert(leaf: Any, _: str) -> np.ndarray[Any, Any]:
        array = np.asarray(keras.ops.convert_to_numpy(leaf))
        is_int = np.issubdtype(array.dtype, np.integer) or array.dtype == bool
        return array if is_int else array.astype("float64")

    return map_leaves(convert, structure)


def same(
    actual: Structure, expected: Structure, root: str, tolerance: float = FORWARD, what: str = ""
) -> None:
    """Raises `ViolationError` for the leaf that is off by most, if it is off by too much.

    Args:
        actual, expected: structures of arrays.
        root: the name of both.
        tolerance: relative to the largest entry of the expected leaf. If it is 0, the
            difference that is reported is not relative.
        what: what has been done, for the message.
    """
    found = list(leaves_with_paths(as_numpy(actual), root))
    wanted = list(leaves_with_paths(as_numpy(expected), root))
    if [(path, leaf.shape) for path, leaf in found] != [(p, leaf.shape) for p, leaf in wanted]:
        raise ViolationError(
            f"{root}: another structure or shape{what and ' ' + what}.\n"
            f"  It is {outline(actual)}, and should be {outline(expected)}",
            root,
        )
    differences = [
        (path, _difference(actual, expected, bool(tolerance)))
        for (path, actual), (_, expected) in zip(found, wanted, strict=True)
    ]
    path, worst = max(differences, key=lambda item: item[1], default=("", 0.0))
    if not worst <= tolerance:
        verb = "differ" if path == root and root.endswith("s") else "differs"
        raise ViolationError(f"{path} {verb}{what and ' ' + what}", path, worst, tolerance)


def _difference(actual: Any, expected: Any, relative: bool) -> float:
    if not actual.size:
        return 0.0
    if actual.dtype.kind in "iub":
        return float(np.any(actual != expected))
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(finite.max(initial=0.0), _SMALLEST_SCALE) if relative else 1.0
    # Infinities that are the same are not apart.
    with np.errstate(invalid="ignore"):
        apart = np.where(actual == expected, 0.0, np.abs(actual - expected))
    difference = apart.max() / scale
    return float("inf") if np.isnan(difference) else float(difference)


def all_finite(named: Sequence[tuple[str, Any]], what: str) -> None:
    """Raises `ViolationError` for the first leaf with a number that is not finite."""
    for path, leaf in named:
        count = int(np.sum(~np.isfinite(as_numpy(leaf))))
        if count:
            raise ViolationError(
                f"{what} {path}: {count} of {np.size(leaf)} numbers are not finite", path
            )
