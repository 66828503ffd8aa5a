"""What is no cell, or no input of one, said before anything is made of it."""

from __future__ import annotations

import inspect
from typing import Any

from kcells import stock
from kcells.errors import CellError, StructureError
from kcells.types import Structure

__all__ = ["check_builtin_input", "check_cell"]

_ONE_VECTOR_CELLS = (
    stock.SimpleRNNCell,
    stock.GRUCell,
    stock.LSTMCell,
)


def check_cell(cell: Any) -> None:
    """Raises `CellError` unless `cell` has the two things that every cell has."""
    what = type(cell).__name__
    if isinstance(cell, type):
        raise CellError(
            f"{cell.__name__} is a class, and a cell is needed.\n"
            f"  Make one: {cell.__name__}(...); or use kcells.build, which takes the class."
        )
    if not callable(getattr(cell, "call", None)):
        raise CellError(
            f"{what} is no recurrent cell: it has no method call(inputs, states).\n"
            f"  Received: {cell!r}. Pass a cell, such as keras.layers.GRUCell(8)."
        )
    # A property may answer only once the cell is built; anything else must be there now.
    late = isinstance(inspect.getattr_static(type(cell), "state_size", None), property)
    if not late and getattr(cell, "state_size", None) is None:
        raise CellError(
            f"{what} has no state_size.\n"
            "  Set it in __init__ to the size of each state: an int, or a structure of shapes"
            ' such as [10, (20, 30)] or {"slow": (8, 2)}.'
        )


def check_builtin_input(cell: Any, input_shape: Structure) -> None:
    """Says what Keras' own cells would say in an unfriendly way, or not at all."""
    if not isinstance(cell, _ONE_VECTOR_CELLS):
        return
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 2:
        raise StructureError(
            f"{type(cell).__name__} takes one tensor of (batch, features) a time step.\n"
            f"  Received a step of {input_shape!r}.\n"
            "  Give sequences of (batch, time, features); for nested inputs choose a cell"
            " that takes them."
        )
