"""Initial weights that are put together from several draws."""

from __future__ import annotations

from typing import Any

from keras import initializers

from kcells.types import Tensor

__all__ = ["drawn"]


def drawn(initializer: Any, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """Numbers from an initializer, which have nothing to do with those that it gave before.

    Examples:

    >>> from keras import initializers, ops
    >>> normal = initializers.RandomNormal()
    >>> bool(ops.all(drawn(normal, (2,)) == drawn(normal, (2,))))
    False
    """
    # Keras' initializers keep their seed: used twice, one gives the same numbers.
    fresh = (
        initializer.clone() if isinstance(initializer, initializers.Initializer) else initializer
    )
    return fresh(shape, dtype=dtype)
