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

from kcells.cells.linear import LinearRecurrence, Product, multiply
from kcells.engine import backends
from kcells.engine.backends.base import Settings
from kcells.engine.call import Call
from kcells.engine.masks import only_where, select
from kcells.engine.options import Options
from kcells.engine.rows import Rows, last_of, nothing_of
from kcells.types import Structure, Tensor

__all__ = ["run"]


def run(call: Call, inputs: Structure) -> tuple[Structure, Structure, Structure]:
    """Runs a cell that is linear in its state.

    Args:
        call: the call, with the time first, in the order of processing.
        inputs: its sequences, nothing harmful in them.

    Returns:
        The outputs, `(time, batch, ...)` or those of the last step, the final states, and
        those after every step if the options want them.
    """
    given = {
        "inputs": inputs,
        "states": call.states,
        "mask": [] if call.mask is None else [call.mask],
        "reset": [] if call.reset is None else [call.reset, call.fresh],
    }
    # Without checkpoints: what they would save is no more than what goes in and out.
    settings = call.settings(fixed=call.masks)
    cell = call.cell.cell
    variables = cell.variables if isinstance(cell, keras.layers.Layer) else []

    def all_steps(given: Structure) -> tuple[Structure, ...]:
        return _all_steps(call, given, settings)

    outputs, final, all_states = backends.current().as_one(all_steps, given, variables, settings)
    return outputs, final, all_states if call.options.return_all_states else None


def _all_steps(call: Call, given: Structure, settings: Settings) -> tuple[Structure, ...]:
    inputs, states, mask = given["inputs"], given["states"], (*given["mask"], None)[0]
    projected = call.cell.project(inputs, call.training)
    recurrence = call.cell.linear_recurrence(projected)
    lead = tuple(ops.shape(tree.flatten(inputs)[0])[:2])
    product = recurrence.product

    reset, fresh = given["reset"] or (None, states)

    def all_states(a: Tensor, b: Tensor, first: Tensor, fresh: Tensor) -> Tensor:
        a, b = _coefficients(a, b, first, mask, lead, product)
        if reset is not None:
            a, b = _started_anew(a, b, ops.cast(fresh, a.dtype), reset, product)
        start = ops.cast(first, a.dtype)
        h = backends.current().linear_scan(a, b, start, product, settings)
        return ops.cast(h, first.dtype)

    after = tree.map_structure(all_states, recurrence.a, recurrence.b, states, fresh)
    final = tree.map_structure(last_of, after, states)
    outputs = _outputs(recurrence, after, final, projected, mask, call.options)
    return outputs, final, after if call.options.return_all_states else []


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


def _started_anew(
    a: Tensor, b: Tensor, fresh: Tensor, reset: Tensor, product: Product
) -> tuple[Tensor, Tensor]:
    """`a` and `b` where some steps start from `fresh`, whatever was before."""
    from_there = multiply(product, a, ops.broadcast_to(fresh, ops.shape(a)))
    b = b + only_where(reset, from_there)
    return only_where(ops.logical_not(reset), a), b


def _one(a: Tensor, product: Product) -> Tensor:
    if product == "elementwise":
        return ops.ones_like(a)
    return ops.stack([ops.ones_like(a[..., 0]), ops.zeros_like(a[..., 1])], axis=-1)


def _outputs(
    recurrence: LinearRecurrence,
    states: Structure,
    final: Structure,
    projected: Structure,
    mask: Tensor | None,
    options: Options,
) -> Structure:
    if options.return_sequences:
        outputs = recurrence.read_out(states, projected)
        if mask is None:
            return outputs
        if options.zero_output_for_mask:
            return tree.map_structure(lambda y: only_where(mask, y), outputs)
        rows = Rows(mask)
        return tree.map_structure(rows.repeated, outputs)
    at_the_end = tree.map_structure(lambda x: last_of(x, nothing_of(x)), projected)
    if mask is not None and not options.zero_output_for_mask:
        # A masked step keeps the state, so that at the end is that of the last valid step.
        rows = Rows(mask)
        read = recurrence.read_out(final, tree.map_structure(rows.last, projected))
        return tree.map_structure(lambda y: only_where(rows.has_steps, y), read)
    read = recurrence.read_out(final, at_the_end)
    valid = None if mask is None else last_of(mask, nothing_of(mask))
    if valid is None and tree.flatten(projected)[0].shape[0] is None:
        first = tree.flatten(states)[0]
        valid = ops.broadcast_to(ops.shape(first)[0] > 0, (ops.shape(first)[1],))
    return read if valid is None else tree.map_structure(lambda y: only_where(valid, y), read)
