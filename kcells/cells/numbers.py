"""Numbers as Python has them, wherever they come from.

Sizes often come out of NumPy: a shape, a search, a column of a table. `np.int64(4)` is 4, and
in a file it has to be 4 too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from kcells.errors import ConfigurationError
from kcells.structure import map_leaves

__all__ = ["plain_arguments", "plain_numbers", "positive"]


def plain_numbers(value: Any) -> Any:
    """`value` with every number in it as an int, a float or a bool of Python.

    Args:
        value: a number, or a list, tuple or dict that holds some. What is no number, such as a
            tensor or an array of several, stays as it is.

    Examples:

    >>> import numpy as np
    >>> plain_numbers((np.int64(4), [np.float32(0.5), "same"]))
    (4, [0.5, 'same'])
    """
    if type(value) in (list, tuple, dict):
        return map_leaves(lambda leaf, _: _plain_number(leaf), value)
    return _plain_number(value)


def positive(who: str, name: str, value: Any) -> int:
    """`value`, the argument `name` of `who`, as an int of Python.

    Raises:
        ConfigurationError: if it is no positive int.

    Examples:

    >>> import numpy as np
    >>> positive("MyCell", "units", np.int64(4))
    4
    """
    number = plain_numbers(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ConfigurationError(f"{who}: {name} must be a positive int; received {value!r}.")
    return number


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    # Dimensions of TensorFlow, and others that stand for an int; not tensors, nor ints themselves.
    if hasattr(value, "__index__") and not isinstance(value, int) and not hasattr(value, "dtype"):
        return int(value.__index__())
    return value


def plain_arguments(constructor: Callable[..., None]) -> Callable[..., None]:
    """A constructor that gets plain numbers."""

    @functools.wraps(constructor)
    def with_plain_numbers(self: Any, *args: Any, **kwargs: Any) -> None:
        constructor(
            self,
            *map(plain_numbers, args),
            **{key: plain_numbers(value) for key, value in kwargs.items()},
        )

    # Keras asks for names and defaults in ways that do not look behind a wrapper.
    with_plain_numbers.__signature__ = inspect.signature(constructor)  # type: ignore[attr-defined]
    return with_plain_numbers
