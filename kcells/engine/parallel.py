"""The path `parallel`: all steps of a cell that is linear in its state, at once.

p = projected inputs, a, b = coefficients, for all steps
a, b = 1, 0 where a step is masked                         so the state stays
h_t = a_t * h_{t-1} + b_t for all t                        a scan of the backend
outputs = read out from h and p, for all steps or for the last
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.cells.linear import LinearRecurrence, Product
from kcells.cells.protocol import BoundCell
from kcells.engine import backends
from kcells.engine.backends.base import Settings
from kcells.engine.masks import only_where, select
from kcells.engine.options import LoopOptions
from kcells.engine.rows import Rows
from kcells.types import Structure, Tensor

__all__ = ["run"]


def run(
    cell: BoundCell,
    inputs: Structure,
    states: Structure,
    mask: Tensor | None,
    options: LoopOptions,
    training: bool,
    settings: Settings,
) -> tuple[Structure, Structure]:
    """Runs a cell that is linear in its state.

    Args:
        cell: the built cell.
        inputs: a structure of `(time, batch, ...)`, in the order of processing.
        states: the initial states, in the structure of `cell.sizes`.
        mask: `(time, batch)` bool, or None.
        options: the layer's options.
        training: whether dropout is on.
        settings: how to run the scan.

    Returns:
        The outputs, `(time, batch, ...)` or those of the last step, and the final states.
    """
    projected = cell.project(inputs, training)
    recurrence = cell.linear_recurrence(projected)
    lead = tuple(ops.shape(tree.flatten(inputs)[0])[:2])
    product = recurrence.product

    def all_states(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
        a, b = _coefficients(a, b, first, mask, lead, product)
        start = ops.cast(first, a.dtype)
        h = backends.current().linear_scan(a, b, start, product, settings)
        return ops.cast(h, first.dtype)

    after = tree.map_structure(all_states, recurrence.a, recurrence.b, states)
    outputs = _outputs(recurrence, after, projected, mask, options)
    return outputs, tree.map_structure(lambda h: h[-1], after)


def _coefficients(
    a: Tensor, b: Tensor, first: Tensor, mask: Tensor | None, lead: Any, product: Product
) -> tuple[Tensor, Tensor]:
    """`a` and `b` in full, `(time, batch, ...)`; a masked step keeps the state."""
    # Sums over many steps are nothing for half precision.
    is_double = keras.backend.standardize_dtype(first.dtype) == "float64"
    dtype = "float64" if is_double else "float32"
    shape = (*lead, *first.shape[1:])
    a, b = (ops.broadcast_to(ops.convert_to_tensor(x, dtype), shape) for x in (a, b))
    if mask is None:
        return a, b
    return select(mask, a, _one(a, product)), only_where(mask, b)


def _one(a: Tensor, product: Product) -> Tensor:
    if product == "elementwise":
        return ops.ones_like(a)
    return ops.stack([ops.ones_like(a[..., 0]), ops.zeros_like(a[..., 1])], axis=-1)


def _outputs(
    recurrence: LinearRecurrence,
    states: Structure,
    projected: Structure,
    mask: Tensor | None,
    options: LoopOptions,
) -> Structure:
    if options.return_sequences:
        outputs = recurrence.read_out(states, projected)
        if mask is None:
            return outputs
        if options.zero_output_for_mask:
            return tree.map_structure(lambda y: only_where(mask, y), outputs)
        rows = Rows(mask)
        return tree.map_structure(rows.repeated, outputs)
    if mask is None or options.zero_output_for_mask:
        found = recurrence.read_out(*(_at_the_end(x) for x in (states, projected)))
        return (
            found if mask is None else tree.map_structure(lambda y: only_where(mask[-1], y), found)
        )
    rows = Rows(mask)
    # Since a masked step keeps the state, that at the end is that of the last step that counts.
    read = recurrence.read_out(_at_the_end(states), tree.map_structure(rows.last, projected))
    return tree.map_structure(lambda y: only_where(rows.has_steps, y), read)


def _at_the_end(sequences: Structure) -> Structure:
    return tree.map_structure(lambda x: x[-1], sequences)
