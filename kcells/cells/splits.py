"""Keras' own cells, split into input side and state side as `kcells.Cell` does it.

A recurrent loop over these cells then does one matrix product for the inputs of all
steps, and goes past `Layer.__call__` at each. Where a cell draws a mask a gate or drops
the state, it is left to itself.
"""

from __future__ import annotations

from typing import Any, Protocol

from keras import ops

from kcells import stock
from kcells.types import Structure, Tensor

__all__ = ["Split", "draws_a_mask_a_gate", "drop_inputs", "split_of"]


class Split(Protocol):
    """The two sides of a step, with the laws that `kcells.Cell` states.

    Where `returns_first_state` is there and true, the output is the first leaf of the new
    state, so that a loop need not keep both.
    """

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure: ...

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]: ...


def drop_inputs(cell: Any, inputs: Tensor, training: bool) -> Tensor:
    """`inputs` under the mask that one of Keras' cells has drawn for this sequence."""
    if not training or not 0.0 < cell.dropout < 1.0:
        return inputs
    return inputs * cell.get_dropout_mask(inputs)


class _KerasSplit:
    returns_first_state = True

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        projected = ops.matmul(drop_inputs(self.cell, inputs, training), self.cell.kernel)
        bias = self._input_bias()
        return projected if bias is None else projected + bias

    def _input_bias(self) -> Any:
        return self.cell.bias


class _LSTMSplit(_KerasSplit):
    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        cell = self.cell
        h, c = states
        i, f, g, o = ops.split(projected + ops.matmul(h, cell.recurrent_kernel), 4, axis=-1)
        c = cell.recurrent_activation(f) * c + cell.recurrent_activation(i) * cell.activation(g)
        h = cell.recurrent_activation(o) * cell.activation(c)
        return h, [h, c]


class _GRUSplit(_KerasSplit):
    def _input_bias(self) -> Any:
        cell = self.cell
        return cell.bias[0] if cell.use_bias and cell.reset_after else cell.bias

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        cell = self.cell
        (h,) = states
        # Split, not sliced: the gradient of three slices is three sums of padded tensors.
        x_z, x_r, x_h = ops.split(projected, 3, axis=-1)
        if cell.reset_after:
            products = ops.matmul(h, cell.recurrent_kernel)
            if cell.use_bias:
                products = products + cell.bias[1]
            h_z, h_r, h_h = ops.split(products, 3, axis=-1)
        else:
            kernel = cell.recurrent_kernel[:, : 2 * cell.units]
            h_z, h_r = ops.split(ops.matmul(h, kernel), 2, axis=-1)
        z = cell.recurrent_activation(x_z + h_z)
        r = cell.recurrent_activation(x_r + h_r)
        if cell.reset_after:
            candidate = r * h_h
        else:
            candidate = ops.matmul(r * h, cell.recurrent_kernel[:, 2 * cell.units :])
        candidate = cell.activation(x_h + candidate)
        h = z * h + (1 - z) * candidate
        return h, [h]


class _SimpleRNNSplit(_KerasSplit):
    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        (h,) = states
        h = projected + ops.matmul(h, self.cell.recurrent_kernel)
        if self.cell.activation is not None:
            h = self.cell.activation(h)
        return h, [h]


_SPLITS: dict[type[Any], type[Any]] = {
    stock.LSTMCell: _LSTMSplit,
    stock.GRUCell: _GRUSplit,
    stock.SimpleRNNCell: _SimpleRNNSplit,
}


def split_of(cell: Any) -> Split | None:
    """Both sides of the cell's step; None if it cannot be split.

    Subclasses of Keras' cells may compute something else, so only these very classes
    count.
    """
    if getattr(cell, "activity_regularizer", None) is not None:
        return None  # `Layer.__call__` adds the loss.
    if getattr(cell, "splits_step", False):
        return cell  # type: ignore[no-any-return]
    if type(cell) in _SPLITS and not cell.recurrent_dropout and not draws_a_mask_a_gate(cell):
        return _SPLITS[type(cell)](cell)  # type: ignore[no-any-return]
    return None


def draws_a_mask_a_gate(cell: Any) -> bool:
    """Whether one of Keras' cells drops other inputs for each gate."""
    return bool(cell.dropout) and getattr(cell, "dropout_mask_count", None) is not None
