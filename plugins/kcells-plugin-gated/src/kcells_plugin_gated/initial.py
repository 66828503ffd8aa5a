"""Initial biases that differ from block to block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import initializers, ops

from kcells.types import Tensor

__all__ = ["raised"]


def raised(initializer: Any, *amounts: float) -> Callable[..., Tensor]:
    """An initializer for vectors of equal blocks: what another one draws, and a number for each.

    Args:
        initializer: what draws the whole vector.
        *amounts: what is added to the entries of each block.

    Examples:

    >>> from keras import ops
    >>> start = raised("zeros", -1.0, 2.0)
    >>> ops.convert_to_numpy(start((4,), "float32")).tolist()
    [-1.0, -1.0, 2.0, 2.0]
    """

    def start(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        drawn = initializers.get(initializer)(shape, dtype=dtype)
        return drawn + ops.repeat(ops.convert_to_tensor(amounts, dtype), shape[0] // len(amounts))

    return start
