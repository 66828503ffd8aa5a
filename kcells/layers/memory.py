"""The state that a stateful layer keeps from one batch to the next.

The variables live in an object of their own and not in an attribute of the layer:
Keras would make weights of them, and they are no weights (they have the batch size in
their shape, and a saved model must not depend on it).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.types import Structure

__all__ = ["Memory"]


class Memory:
    """Variables in the structure of a state.

    Args:
        initial: the first values; `(batch, ...)` in every leaf.
        dtype: the dtype of the variables that hold floats.
    """

    def __init__(self, initial: Structure, dtype: str) -> None:
        def variable(value: Any) -> keras.Variable:
            kept = keras.backend.standardize_dtype(value.dtype)
            is_float = keras.backend.is_float_dtype(kept)
            # A copy: the initial state may be a view of a weight, with a gradient.
            value = ops.stop_gradient(ops.copy(value))
            return keras.Variable(
                value, trainable=False, dtype=dtype if is_float else kept, name="rnn_state"
            )

        self.states = tree.map_structure(variable, initial)

    @property
    def variables(self) -> list[Any]:
        """The variables in a flat list."""
        return list(tree.flatten(self.states))

    @property
    def batch_size(self) -> int | None:
        """The number of sequences that are remembered; None if there is no state."""
        return int(self.variables[0].shape[0]) if self.variables else None

    def read(self) -> Structure:
        """A copy of the values: PyTorch assigns in place, and the gradient needs the old."""
        return tree.map_structure(lambda v: ops.copy(ops.convert_to_tensor(v)), self.states)

    def write(self, states: Structure) -> None:
        """Stores `states`, which must be in the structure of the memory."""
        for variable, value in zip(self.variables, tree.flatten(states), strict=True):
            variable.assign(ops.cast(value, variable.dtype))
