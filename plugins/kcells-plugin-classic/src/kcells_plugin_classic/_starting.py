"""What the cells here start alike, and what bounds them."""

from __future__ import annotations

from typing import Any

from keras import ops

from kcells import InputCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["checked_bound", "clip", "gates_at_one"]


def gates_at_one(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """Biases of a GRU, of which the last third is the candidate's: gates start open."""
    third = shape[0] // 3
    return ops.concatenate([ops.ones((2 * third,), dtype=dtype), ops.zeros((third,), dtype=dtype)])


def checked_bound(cell: InputCell, name: str, value: Any) -> float | None:
    """`value`, which has to be a positive number or None: the argument `name`."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and value > 0):
        raise ConfigurationError(
            f"{type(cell).__name__}: {name} must be a positive float or None; received {value!r}."
        )
    return value  # type: ignore[no-any-return]


def clip(values: Tensor, bound: float | None) -> Tensor:
    """`values` within `-bound` and `bound`, if there is one."""
    return values if bound is None else ops.clip(values, -bound, bound)
