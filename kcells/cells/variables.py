"""The value of a variable, as the scopes around a call have it."""

from __future__ import annotations

from typing import Any

from keras import ops

from kcells.types import Tensor

__all__ = ["current_value"]


def current_value(variable: Any) -> Tensor:
    """The value of a Keras variable now, in the variable's own dtype.

    It goes through Keras, so that a value that an outer stateless scope holds is seen, and
    undoes the cast to the dtype of computations.
    """
    return ops.cast(ops.convert_to_tensor(variable), variable.dtype)
