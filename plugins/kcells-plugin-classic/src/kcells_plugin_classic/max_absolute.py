"""A bound for each entry of a weight; Keras' own constraints bound the norm of many."""

from __future__ import annotations

from typing import Any

import keras

from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_classic._starting import clip

__all__ = ["MaxAbsolute"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class MaxAbsolute(keras.constraints.Constraint):
    """Keeps every entry of a weight between `-bound` and `bound`.

    Paper: Li, Li, Cook, Zhu and Gao 2018, arXiv:1803.04831, which bounds the recurrent weights
    of an IndRNN by the T-th root of what a state may grow by in T steps.

    Args:
        bound: the largest absolute value, a positive float.

    Raises:
        ConfigurationError: if `bound` is not positive.

    Examples:

    >>> import kcells, keras
    >>> from kcells_plugin_classic import MaxAbsolute
    >>> steps = 200
    >>> cell = kcells.cell("indrnn", 64, recurrent_constraint=MaxAbsolute(2.0 ** (1 / steps)))
    >>> float(MaxAbsolute(0.5)(keras.ops.array([-1.0, 0.25, 2.0]))[2])
    0.5
    """

    def __init__(self, bound: float) -> None:
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not bound > 0.0:
            raise ConfigurationError(
                f"MaxAbsolute: bound must be a positive float; received {bound!r}."
            )
        self.bound = bound

    def __call__(self, w: Tensor) -> Tensor:
        """The entries of `w` that are beyond the bound, moved to it."""
        return clip(w, self.bound)

    def get_config(self) -> dict[str, Any]:
        """The argument of the constructor."""
        return {"bound": self.bound}
