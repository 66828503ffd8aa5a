"""What the cells here say alike when they declare the built-in layer that they are."""

from __future__ import annotations

from typing import Any

from keras import ops

from kcells import Reason, StandardCell
from kcells.types import Tensor

__all__ = ["lstm_weights", "no_state_dropout", "shared_arguments"]

_OF_EVERY_LAYER = ("name", "trainable", "dtype")


def no_state_dropout(cell: StandardCell) -> Reason:
    """The condition that Keras and the cell drop the same entries of the state."""
    return Reason(
        "dropout leaves the state alone, of which Keras drops other parts a gate",
        not cell.recurrent_dropout,
        f"recurrent_dropout={cell.recurrent_dropout}",
    )


def shared_arguments(cell: StandardCell, *without: str) -> dict[str, Any]:
    """All arguments of a cell, but for those `without` and those of every Keras layer."""
    left_out = (*_OF_EVERY_LAYER, *without)
    return {name: value for name, value in cell.get_config().items() if name not in left_out}


def lstm_weights(cell: Any) -> list[Tensor]:
    """The weights of an LSTM with Keras' blocks, and `cell.forget_bias` within its bias."""
    zeros = ops.zeros((4 * cell.units,), dtype=cell.kernel.dtype)
    bias = zeros if cell.bias is None else ops.convert_to_tensor(cell.bias)
    i, f, g, o = ops.split(bias, 4)
    return [cell.kernel, cell.recurrent_kernel, ops.concatenate([i, f + cell.forget_bias, g, o])]
