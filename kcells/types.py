"""Names for the things that kcells passes around.

Tensors differ by backend and structures nest to any depth, so a type checker can say
little about either; the names below say to a reader which is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

__all__ = ["CellLike", "Step", "Structure", "Tensor"]

Tensor: TypeAlias = Any
"""A tensor of the backend, a NumPy array or a symbolic `keras.KerasTensor`."""

Structure: TypeAlias = Any
"""A tensor, or any nest of list, tuple, named tuple and dict of tensors."""

Step: TypeAlias = Callable[[Structure, Structure], tuple[Structure, Structure]]
"""One turn of a loop: `(carry, input) -> (carry, output)`."""


@runtime_checkable
class CellLike(Protocol):
    """What kcells needs of a cell; Keras' own cells and strangers' have it.

    `output_size` and `get_initial_state(batch_size)` are optional, and `call` may
    also take `training` and `constants`.
    """

    state_size: Any

    def call(self, inputs: Structure, states: Structure) -> tuple[Structure, Structure]: ...
