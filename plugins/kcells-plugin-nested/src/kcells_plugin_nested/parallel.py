"""`ParallelCells`: cells side by side, one for each branch of the input."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

import kcells
from kcells import Card, Case, Learning, Place
from kcells.cells import BoundCell, built_outputs, marked
from kcells.errors import CellError, StructureError
from kcells.structure import child, leaves_with_paths, map_leaves, plain, shape_leaves
from kcells.types import Structure, Tensor

__all__ = ["ParallelCells"]


@keras.saving.register_keras_serializable(package="kcells-plugin-nested")
class ParallelCells(kcells.Cell):
    """Runs one cell for each branch of a nested input, in one loop over time.

    With the cells f_k and the branches x_k of the input:

        (o_k, s_k)_t = f_k(x_k at t, s_k at t-1)        for every k

    Inputs, states and outputs have the structure in which the cells are given. A branch
    may itself be a structure, if its cell takes one.

    Source: the cell-level form of a model with one encoder for each modality, such as
    Ngiam et al. 2011, "Multimodal Deep Learning" (ICML), section 3; there is no equation
    beyond the one above.

    Args:
        cells: a dict, list or tuple, nested to any depth, of cells.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: a structure like `cells`.
        states: the same, with the state of each cell: a tensor where its `state_size` is
            one shape, else a structure.
        training: passed to every cell that takes it.
        constants: passed to every cell that takes it.

    Returns:
        The outputs of the cells, and their new states, in the structure of `cells`.

    Raises:
        CellError: if `cells` holds no cell, or something else.
        StructureError: if the inputs do not have the structure of `cells`.

    Examples:

    >>> import kcells, numpy as np
    >>> cells = {"pen": kcells.cell("gru", 4), "sound": kcells.cell("lstm", 3)}
    >>> layer = kcells.build("parallel", cells)
    >>> steps = {"pen": np.ones((8, 5, 2)), "sound": np.ones((8, 5, 6))}
    >>> {key: tuple(value.shape) for key, value in sorted(layer(steps).items())}
    {'pen': (8, 4), 'sound': (8, 3)}
    """

    def __init__(self, cells: Structure, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        cells = plain(cells)
        named = list(leaves_with_paths(cells, "cells"))
        if not isinstance(cells, (dict, list, tuple)) or not named:
            raise CellError(
                "ParallelCells takes a dict, list or tuple of cells, one for each branch of the"
                f" input; received {cells!r}."
            )
        for path, cell in named:
            if not isinstance(cell, keras.layers.Layer):
                raise CellError(f"ParallelCells: {path} is {cell!r}, which is no cell layer.")
        _check_storable(cells, "cells")
        if len({id(cell) for _, cell in named}) < len(named):
            raise CellError(
                "ParallelCells: one cell stands for several branches; make one for each."
            )
        # Keras tracks and saves the members of a flat list; of nested ones it loses some.
        self.branches = tree.flatten(cells)
        self._layout = _Layout(tree.map_structure(lambda cell: BoundCell(cell, self), cells))

    @property
    def cells(self) -> Structure:
        """The cells, in the structure in which they were given."""
        return tree.map_structure(lambda bound: bound.cell, self._layout.bounds)

    @property
    def state_size(self) -> Structure:
        """The sizes of each cell's state, in the structure of `cells`; None while unknown."""
        if any(cell.state_size is None for cell in self.branches):
            return None
        return tree.map_structure(lambda bound: bound.entry_size, self._layout.bounds)

    @state_size.setter
    def state_size(self, value: Any) -> None:
        raise AttributeError("state_size of ParallelCells follows from its cells.")

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        specs = map_leaves(
            lambda s, _: keras.KerasTensor(s.shape, dtype=self.compute_dtype),
            shape_leaves(input_shape),
        )
        for bound, branch in self._pairs(specs):
            built_outputs(bound, branch, constants_shape)
        self.built = True

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        return tree.map_structure(lambda b: b.initial_entry(batch_size), self._layout.bounds)

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        return self._pack([bound.project(x, training) for bound, x in self._pairs(inputs)])

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        return self._run(projected, states, training, None, projected=True)

    def call(
        self,
        inputs: Structure,
        states: Structure,
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        return self._run(inputs, states, training, constants, projected=False)

    @property
    def splits_step(self) -> bool:
        # `call` is overridden to pass constants on, and is still step after project_inputs.
        return type(self).call is ParallelCells.call

    def _run(
        self,
        inputs: Structure,
        states: Structure,
        training: bool,
        constants: Structure,
        *,
        projected: bool,
    ) -> tuple[Structure, Structure]:
        results = [
            bound.step_entry(x, entry, training, constants, projected=projected)
            for (bound, x), (_, entry) in zip(
                self._pairs(inputs), self._pairs(states, "states"), strict=True
            )
        ]
        return self._pack([out for out, _ in results]), self._pack([new for _, new in results])

    def _pairs(
        self, structure: Structure, root: str = "inputs"
    ) -> list[tuple[BoundCell, Structure]]:
        """Each cell with its branch of `structure`, in the order of `branches`."""
        branches = _branches(self._layout.bounds, structure, root)
        return list(zip(tree.flatten(self._layout.bounds), branches, strict=True))

    def _pack(self, branches: list[Structure]) -> Structure:
        return tree.pack_sequence_as(self._layout.bounds, branches)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        pair = {"b": keras.layers.GRUCell(4), "a": keras.layers.LSTMCell(3)}
        nested = [kcells.cell("gru", 2), {"inner": kcells.cell("nested", 4, 2, 3)}]
        return Card(
            [
                Case({"cells": pair}, inputs={"b": (2,), "a": (5,)}, name="dict"),
                Case({"cells": nested}, inputs=[(2,), {"inner": [(3,), (2, 5)]}], name="nested"),
            ],
            arguments=_side_by_side,
            inputs=lambda at: {"left": (at.features,), "right": (at.features,)},
            gates="",
            learning=Learning(adapt=_left_and_right, problems=("rows",)),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": _encode(self.cells)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ParallelCells:
        config = dict(config)
        return cls(_decode(config.pop("cells"), custom_objects), **config)


class _Layout:
    """The bound cells in their structure, in an object that Keras does not track."""

    def __init__(self, bounds: Structure) -> None:
        self.bounds = bounds


def _check_storable(cells: Structure, path: str) -> None:
    """Refuses what a file would not give back as it was."""
    if hasattr(cells, "_fields"):
        raise CellError(f"ParallelCells: {path} is a named tuple; give a dict or a tuple.")
    if isinstance(cells, dict):
        for key, member in cells.items():
            if not isinstance(key, str):
                raise CellError(f"ParallelCells: {path} has the key {key!r}; keys must be strings.")
            _check_storable(member, child(path, key))
    elif isinstance(cells, (list, tuple)):
        for index, member in enumerate(cells):
            _check_storable(member, child(path, index))


def _branches(bounds: Structure, structure: Structure, root: str) -> list[Structure]:
    """The parts of `structure` that stand where `bounds` has a cell, in tree order."""
    if isinstance(bounds, BoundCell):
        return [structure]
    if isinstance(bounds, dict):
        fits = isinstance(structure, dict) and set(structure) == set(bounds)
        keys: list[Any] = sorted(bounds)
    else:
        fits = isinstance(structure, (list, tuple)) and len(structure) == len(bounds)
        keys = list(range(len(bounds)))
    if not fits:
        found = sorted(structure) if isinstance(structure, dict) else type(structure).__name__
        raise StructureError(
            f"ParallelCells: {root} must have the structure of the cells.\n"
            f"  cells:    {keys if isinstance(bounds, dict) else f'{len(keys)} in a list'}\n"
            f"  {root}: {found}"
        )
    return [part for key in keys for part in _branches(bounds[key], structure[key], root)]


def _encode(cells: Structure) -> dict[str, Any]:
    """The structure as JSON keeps it: a tuple would come back as a list."""
    if isinstance(cells, dict):
        return {"kind": "dict", "members": {key: _encode(cell) for key, cell in cells.items()}}
    if isinstance(cells, (list, tuple)):
        kind = "tuple" if isinstance(cells, tuple) else "list"
        return {"kind": kind, "members": [_encode(cell) for cell in cells]}
    return {"kind": "cell", "cell": marked(cells, keras.saving.serialize_keras_object(cells))}


def _decode(encoded: dict[str, Any], custom_objects: Any) -> Structure:
    kind = encoded["kind"]
    if kind == "cell":
        return keras.saving.deserialize_keras_object(encoded["cell"], custom_objects=custom_objects)
    members = encoded["members"]
    if kind == "dict":
        return {key: _decode(member, custom_objects) for key, member in members.items()}
    decoded = [_decode(member, custom_objects) for member in members]
    return tuple(decoded) if kind == "tuple" else decoded


def _side_by_side(at: Place) -> dict[str, Any]:
    lstm, gru = (kcells.cell(name, at.units) for name in ("lstm", "gru"))
    return {"cells": {"left": lstm, "right": gru}}


def _left_and_right(row: Tensor) -> dict[str, Tensor]:
    middle = row.shape[-1] // 2
    return {"left": row[..., :middle], "right": row[..., middle:]}
