"""The symbolic twins of what a recurrent layer returns."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from kcells.cells.protocol import BoundCell
from kcells.layers.dtypes import computed_dtype
from kcells.types import Structure

__all__ = ["output_specs", "state_specs"]


def output_specs(outputs: Structure, lead: tuple[int | None, ...], dtype: str) -> Structure:
    """The outputs of a layer, from those of one step; `lead` is batch, or batch and time."""

    def output(spec: Any) -> keras.KerasTensor:
        return keras.KerasTensor((*lead, *spec.shape[1:]), dtype=computed_dtype(spec, dtype))

    return tree.map_structure(output, outputs)


def state_specs(cell: BoundCell, lead: tuple[int | None, ...], dtype: str) -> Structure:
    """The states: shapes from `state_size`, dtypes from the initial ones; `lead` as above."""

    def state(size: Any, leaf: Any) -> keras.KerasTensor:
        return keras.KerasTensor((*lead, *size.dims), dtype=computed_dtype(leaf, dtype))

    return tree.map_structure(state, cell.sizes, cell.initial_state(batch_size=1))
