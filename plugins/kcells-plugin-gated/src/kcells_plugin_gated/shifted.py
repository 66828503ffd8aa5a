"""A bias for some of the blocks that a product has."""

from __future__ import annotations

from keras import ops

from kcells.types import Tensor

__all__ = ["shifted"]


def shifted(products: Tensor, bias: Tensor | None) -> Tensor:
    """Products whose first columns, as many as the bias has entries, get the bias.

    Examples:

    >>> from keras import ops
    >>> ops.convert_to_numpy(shifted(ops.zeros((1, 3)), ops.ones((2,)))).tolist()
    [[1.0, 1.0, 0.0]]
    """
    if bias is None:
        return products
    first, rest = ops.split(products, [bias.shape[0]], axis=-1)
    return ops.concatenate([first + bias, rest], axis=-1)
