"""The state that a stateful layer keeps from one batch to the next.

The variables live in an object of their own and not in an attribute of the layer:
Keras would make weights of them, and they are no weights (they have the batch size in
their shape, and a saved model must not depend on it).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.cells.protocol import BoundCell
from kcells.errors import ConfigurationError
from kcells.layers.checks import check_states
from kcells.layers.dtypes import cast_floats
from kcells.types import Structure, Tensor

__all__ = ["Memory", "first_states", "trained_states"]


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

    @classmethod
    def of(cls, cell: BoundCell, batch: int | None, dtype: str, who: str) -> Memory:
        """The memory of a layer around `cell`.

        Raises:
            ConfigurationError: if the batch size is not known.
        """
        if batch is None:
            raise ConfigurationError(
                f"{who}: stateful=True needs a fixed batch size, and the batch size of the"
                " inputs is not known.\n"
                "  Give it: keras.Input(batch_shape=(batch, time, features)), or"
                " keras.Input(shape, batch_size=batch)."
            )
        return cls(cell.initial_state(batch), dtype)

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

    def reset(self, cell: BoundCell, states: Structure, who: str) -> None:
        """Stores `states`, or the cell's own initial state if they are None.

        Raises:
            StructureError: if they do not fit.
        """
        if states is None:
            self.write(cell.initial_state(self.batch_size))
        else:
            self.write(check_states(cell, states, self.batch_size, "states", who))

    def write(self, states: Structure) -> None:
        """Stores `states`, which must be in the structure of the memory."""
        for variable, value in zip(self.variables, tree.flatten(states), strict=True):
            variable.assign(ops.cast(value, variable.dtype))


def first_states(
    cell: BoundCell, explicit: Structure, memory: Memory | None, batch: Tensor, training: bool
) -> Structure:
    """What a sequence starts from: what is given, what is remembered, or the cell's own."""
    if explicit is not None:
        # In the dtypes of the cell's own: ints given for floats would stay ints.
        states = tree.map_structure(
            lambda given, own: ops.cast(given, own.dtype), explicit, cell.initial_state(1)
        )
    elif memory is not None:
        states = memory.read()
    else:
        states = cell.initial_state(batch, training)
    return cast_floats(states, cell.compute_dtype)


def trained_states(layer: Any, cell: BoundCell) -> Structure:
    """New weights of `layer`, one row each, that start as the cell's own initial state.

    None in the place of a state that holds no floats, which cannot be trained.
    """
    flat = tree.flatten(cell.initial_state(1))

    def first(number: int) -> Any:
        # Asked for again where the weight is made, which is outside of any graph.
        return lambda shape, dtype: ops.cast(tree.flatten(cell.initial_state(1))[number], dtype)

    weights = [
        layer.add_weight(
            shape=tuple(leaf.shape), initializer=first(number), name=f"initial_state_{number}"
        )
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(leaf.dtype))
        else None
        for number, leaf in enumerate(flat)
    ]
    return tree.pack_sequence_as(cell.sizes, weights)
