"""The value of a variable, as the scopes around a call have it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from kcells.errors import CellError
from kcells.types import Tensor

__all__ = ["check_updates", "current_value"]


def current_value(variable: Any) -> Tensor:
    """The value of a Keras variable now, in the variable's own dtype.

    It goes through Keras, so that a value that an outer stateless scope holds is seen, and
    undoes the cast to the dtype of computations.
    """
    return ops.cast(ops.convert_to_tensor(variable), variable.dtype)


def check_updates(scope: keras.StatelessScope, variables: Iterable[Any]) -> None:
    """Looks for updates that would end with `scope`, around a step that knows `variables`.

    Raises:
        CellError: if a step has updated another variable.
    """
    if scope.state_mapping.keys() - {id(variable) for variable in variables}:
        raise CellError(
            "a step of the cell updates a variable that is not among the cell's own, and in this"
            " loop the update would be lost.\n"
            "  Make it an attribute of a cell that is a Keras layer, by add_weight or as a"
            " keras.random.SeedGenerator: what keras.random draws without a seed moves the seed of"
            " the process."
        )
