"""PyTorch: the loop is Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kcells.decoding.parts import Parts

__all__ = ["compiled", "written"]


def compiled(parts: Parts) -> Callable[[list[Any]], list[Any]]:
    """See the package; nothing is compiled."""

    def run(given: list[Any]) -> list[Any]:
        with torch.no_grad():
            carry = parts.begin(given)
            for t in range(parts.length):
                if not parts.goes_on(carry):
                    break
                carry = parts.turn(t, carry)
            return parts.finish(carry)

    return run


def written(buffer: Any, position: int, entry: Any) -> Any:
    """See the package; in place, as nobody else has the buffer."""
    buffer[position] = entry
    return buffer
