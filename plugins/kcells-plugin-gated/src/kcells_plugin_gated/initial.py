"""Initial weights that are put together from blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import initializers, ops

from kcells.types import Tensor

__all__ = ["raised", "stacked"]


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


def stacked(initializer: Any) -> Callable[..., Tensor]:
    """An initializer for stacks of matrices, each of which another one draws by itself.

    Args:
        initializer: what draws a matrix.

    Examples:

    >>> stacked("lecun_normal")((3, 2, 4), "float32").shape == (3, 2, 4)
    True
    """

    def start(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return ops.stack([drawn(shape[1:], dtype) for _ in range(shape[0])])

    def drawn(shape: tuple[int, ...], dtype: Any) -> Tensor:
        # Keras' initializers keep their seed: used twice, one gives the same numbers.
        one = initializers.get(initializer)
        fresh = one.clone() if isinstance(one, initializers.Initializer) else one
        return fresh(shape, dtype=dtype)

    return start
