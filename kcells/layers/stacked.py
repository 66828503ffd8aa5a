"""`StackedCells`: cells on top of each other, used as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kcells import stock
from kcells.cells.inference import built_outputs
from kcells.cells.protocol import BoundCell
from kcells.cells.sharing import marked
from kcells.errors import CellError
from kcells.registry import provenance
from kcells.structure import map_leaves, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["StackedCells", "stacked"]


class _ForEach(NamedTuple):
    """What each cell of a stack has made of the constants."""

    constants: tuple[Structure, ...]


@keras.saving.register_keras_serializable(package="kcells")
class StackedCells(stock.StackedRNNCells):
    """Cells on top of each other: each gets the outputs of the one below.

    What goes from cell to cell may be any structure. The state is a list with the state
    of every cell: a tensor where the cell's `state_size` is one shape, else a structure.

    Args:
        cells: the cells, the one that sees the inputs first.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: a structure of `(batch, ...)`, as the first cell takes it.
        states: a list of the cells' states.
        training: passed to every cell that takes it.
        constants: passed to every cell that takes it.

    Returns:
        The outputs of the last cell, and the list of the new states.

    Raises:
        CellError: if there are no cells, or one of them is no cell.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> cells = kcells.StackedCells([keras.layers.GRUCell(4), keras.layers.LSTMCell(3)])
    >>> cells.state_size
    [4, [3, 3]]
    >>> kcells.RNN(cells)(np.ones((2, 5, 6), "float32")).shape == (2, 3)
    True
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super(stock.StackedRNNCells, self).__init__(**kwargs)
        if not isinstance(cells, (list, tuple)) or not cells:
            raise CellError(f"StackedCells needs a list of at least one cell; received {cells!r}.")
        self._bounds = tuple(BoundCell(cell, owner=self) for cell in cells)
        self.cells = list(cells)
        self._outputs: Any = None

    @property
    def state_size(self) -> list[Any] | None:
        """One entry a cell, its `state_size`; None while a cell does not know its own yet."""
        if any(cell.state_size is None for cell in self.cells):
            return None
        return [bound.entry_size for bound in self._bounds]

    @property
    def output_size(self) -> Any:
        """The `output_size` of the last cell; None if it declares none and is not built."""
        return getattr(self.cells[-1], "output_size", None)

    @property
    def members(self) -> tuple[BoundCell, ...]:
        """The cells, where nothing else is done than to hand outputs from one to the next."""
        methods = ("call", "step", "project_inputs")
        own = any(getattr(type(self), name) is not getattr(StackedCells, name) for name in methods)
        return () if own or self.activity_regularizer is not None else self._bounds

    @property
    def splits_step(self) -> bool:
        """Whether the first cell's input side can be computed ahead."""
        return type(self).call is StackedCells.call and self._bounds[0].hoists

    def get_initial_state(self, batch_size: Tensor | None = None) -> list[Structure]:
        """The initial states of all cells."""
        return [bound.initial_entry(batch_size) for bound in self._bounds]

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        """Builds each cell for what the one below gives."""
        specs = map_leaves(
            lambda s, _: keras.KerasTensor(s.shape, dtype=self.compute_dtype),
            shape_leaves(input_shape),
        )
        for bound in self._bounds:
            specs = built_outputs(bound, specs, constants_shape)
        self.built = True

    def prepare_constants(self, constants: Structure) -> Structure:
        """What each cell makes of the constants before a loop; see `Cell.prepare_constants`."""
        return _ForEach(tuple(bound.prepare_constants(constants) for bound in self._bounds))

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        """The input side of the first cell; see `Cell.project_inputs`."""
        return self._bounds[0].project(inputs, training)

    def step(
        self, projected: Structure, states: Sequence[Structure], training: bool = False
    ) -> tuple[Structure, list[Structure]]:
        """The rest of the first cell's step, and the other cells; see `Cell.step`."""
        return self._run(projected, states, training, None, projected=True)

    def call(
        self,
        inputs: Structure,
        states: Sequence[Structure],
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, list[Structure]]:
        return self._run(inputs, states, training, constants, projected=False)

    def _run(
        self,
        outputs: Structure,
        states: Sequence[Structure],
        training: bool,
        constants: Structure,
        *,
        projected: bool,
    ) -> tuple[Structure, list[Structure]]:
        new_states = []
        each = [constants] * len(self._bounds)
        if isinstance(constants, _ForEach):
            each = list(constants.constants)
        for bound, entry, own in zip(self._bounds, states, each, strict=True):
            outputs, new_entry = bound.step_entry(
                outputs, entry, training, own, projected=projected
            )
            projected = False
            new_states.append(new_entry)
        return outputs, new_states

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = dict(super().get_config())
        config["cells"] = list(map(marked, self.cells, config["cells"]))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> StackedCells:
        """The stack of a configuration; loads the plugins that its cells come from."""
        provenance.ensure_loaded(config, custom_objects)
        return super().from_config(dict(config), custom_objects=custom_objects)  # type: ignore[no-any-return]


def stacked(cell: Any) -> Any:
    """`cell`, as a `StackedCells` if it is a list of cells or the stack of Keras."""
    if isinstance(cell, (list, tuple)):
        return StackedCells(cell)
    if type(cell) is stock.StackedRNNCells:
        # It wraps single states in lists and unwraps a stack of one, against its state_size.
        return StackedCells(
            cell.cells,
            name=cell.name,
            dtype=cell.dtype_policy,
            trainable=cell.trainable,
            autocast=cell.autocast,
            activity_regularizer=cell.activity_regularizer,
        )
    return cell
