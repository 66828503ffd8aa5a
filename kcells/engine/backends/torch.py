"""The loop in PyTorch: Python, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from kcells.engine.backends.base import SizeCheck
from kcells.engine.backends.unrolled import scan

__all__ = ["check_sizes", "scan"]


def check_sizes(sizes: Sequence[SizeCheck], who: str) -> None:
    """Nothing to do: every size is known when a call is checked."""
