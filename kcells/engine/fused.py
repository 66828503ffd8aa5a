"""The path `fused`: one call of a kernel that runs an LSTM or GRU over all steps.

Kernels know no masks, or only right-padded ones without an empty row. They need none:

    move the steps that count to the front of each row         x: a . b c . -> a b c . .
    run the kernel over all steps                              h: A B C ? ?
    fetch each step's output from where it went,
    that of the last valid step for a masked one                  A A B C C

What the kernel computes at the end of a row, from zeros, nobody reads. Only the memory
`c` of an LSTM cannot be read off the outputs: where it is wanted, one more input tells
the kernel that a step does not count, with weights that saturate the gates, so that
the state stays exactly as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import ops, tree

from kcells.cells.equivalence import BuiltinName, is_keras_cell
from kcells.cells.protocol import BoundCell
from kcells.cells.splits import drop_inputs
from kcells.engine import backends
from kcells.engine.backends.base import Weights
from kcells.engine.call import Call
from kcells.engine.masks import only_where
from kcells.engine.options import Options
from kcells.engine.rows import Rows
from kcells.errors import StructureError, table
from kcells.structure import known_shape, same_shape
from kcells.types import Structure, Tensor

__all__ = ["run", "run_both"]

_SATURATES = 1e4
"""The weight that opens or shuts a gate in every float dtype, unless a state or its weights
are as large."""


def run(call: Call) -> tuple[Tensor, Structure]:
    """Runs a cell that is an LSTM or GRU.

    Args:
        call: the call, with the time first, in the order of processing; the equivalence of
            its cell holds.

    Returns:
        The outputs, `(time, batch, units)` or those of the last step, and the final
        states. The memory of an LSTM under a mask is right only if the options say that
        states are wanted.
    """
    cell, options, mask = call.cell, call.options, call.mask
    builtin = cell.builtin
    inputs = _as(call.sequences, cell.compute_dtype)
    if is_keras_cell(cell.cell):
        inputs = drop_inputs(cell.cell, inputs, call.training)
    weights, initial = _weights(cell), _initial(call)
    _check(cell, inputs, initial, weights)
    if mask is None:
        outputs, final = _kernel(builtin, weights, inputs, initial)
        last = outputs if options.return_sequences else outputs[-1]
        return last, cell.in_cell_order(final)
    rows = Rows(mask)
    inputs = rows.to_the_front(inputs)
    if builtin == "lstm" and options.wants_states:
        inputs, weights = _freezing(builtin, inputs, weights, rows.is_padding)
    outputs, final = _kernel(builtin, weights, inputs, initial)
    h = rows.at_the_end(outputs)
    final = [_or(rows, h, initial[0]), *final[1:]]
    if options.return_sequences:
        found = rows.back(outputs, options.zero_output_for_mask)
    else:
        found = only_where(mask[-1] if options.zero_output_for_mask else rows.has_steps, h)
    return found, cell.in_cell_order(final)


def run_both(forward: Call, backward: Call) -> list[tuple[Tensor, Structure]]:
    """Runs both directions of time in one call of the kernel.

    Args:
        forward: the call of the one, with the time first. Under a mask the states of an LSTM
            have to be zeros, in both: the backward direction passes the padding first, and
            there only a memory of zero keeps the output what it is.
        backward: the call of the other, for its cell and states.

    Returns:
        As `run` for each direction, the outputs in the order of processing.
    """
    calls, builtin = (forward, backward), forward.cell.builtin
    inputs = _as(forward.sequences, forward.cell.compute_dtype)
    weights = [_weights(call.cell) for call in calls]
    initial = [_initial(call) for call in calls]
    for call, own, its_weights in zip(calls, initial, weights, strict=True):
        _check(call.cell, inputs, own, its_weights)
    rows = None if forward.mask is None else Rows(forward.mask)
    if rows is not None:
        inputs = rows.to_the_front(inputs)
        padding = rows.is_padding
        frozen = [_freezing(builtin, inputs, direction, padding) for direction in weights]
        inputs, weights = frozen[0][0], [own for _, own in frozen]
    outputs, final = backends.current().fused(builtin, inputs, initial, weights)
    results = []
    for k, call in enumerate(calls):
        found, states_of_builtin = _of_direction(
            rows, outputs[k], initial[k], final[k], forward.options, from_the_end=k == 1
        )
        results.append((found, call.cell.in_cell_order(states_of_builtin)))
    return results


def _of_direction(
    rows: Rows | None,
    outputs: Tensor,
    initial: list[Tensor],
    final: list[Tensor],
    options: Options,
    from_the_end: bool,
) -> tuple[Tensor, list[Tensor]]:
    if rows is None:
        if not options.return_sequences:
            return outputs[0 if from_the_end else -1], final
        return (ops.flip(outputs, axis=0) if from_the_end else outputs), final
    h = outputs[0] if from_the_end else rows.at_the_end(outputs)
    final = [_or(rows, h, initial[0]), *final[1:]]
    if options.return_sequences:
        return rows.back(outputs, options.zero_output_for_mask, from_the_end), final
    last = rows.mask[0 if from_the_end else -1]
    return only_where(last if options.zero_output_for_mask else rows.has_steps, h), final


def _or(rows: Rows, h: Tensor, initial: Tensor) -> Tensor:
    """`h`, or what a row without steps starts from."""
    return ops.where(ops.expand_dims(rows.has_steps, -1), h, initial)


def _initial(call: Call) -> list[Tensor]:
    dtype = call.cell.compute_dtype
    return [_as(state, dtype) for state in call.cell.in_builtin_order(call.states)]


def _weights(cell: BoundCell) -> Weights:
    declared = cell.equivalence.weights
    own = cell.cell
    found = (own.kernel, own.recurrent_kernel, own.bias) if declared is None else declared()
    dtype = cell.compute_dtype
    return Weights(*(_as(ops.convert_to_tensor(weight), dtype) for weight in found))


def _as(tensor: Tensor, dtype: str) -> Tensor:
    # Each operation costs its call, and most tensors are what they should be.
    is_right = keras.backend.standardize_dtype(tensor.dtype) == dtype
    return tensor if is_right else ops.cast(tensor, dtype)


def _check(cell: BoundCell, inputs: Tensor, states: list[Tensor], weights: Weights) -> None:
    """Kernels look at nothing: where a size is wrong they read and write other memory.

    Raises:
        StructureError: if a size that is known does not fit.
    """
    _, batch, features = known_shape(inputs)
    units = math.prod(tree.flatten(cell.sizes)[0].dims)
    gates = 4 if cell.builtin == "lstm" else 3
    bias = (4 * units,) if cell.builtin == "lstm" else (2, 3 * units)
    needed = [
        *((f"state {k}", state, (batch, units)) for k, state in enumerate(states)),
        ("kernel", weights.kernel, (features, gates * units)),
        ("recurrent kernel", weights.recurrent_kernel, (units, gates * units)),
        ("bias", weights.bias, bias),
    ]
    wrong = [
        (name, f"needed {shape}", f"received {known_shape(tensor)}")
        for name, tensor, shape in needed
        if not same_shape(known_shape(tensor), shape)
    ]
    if wrong:
        raise StructureError(
            f"{cell.name}: what it hands to the kernel of a {cell.builtin} does not fit"
            f" inputs of {known_shape(inputs)}.\n{table(wrong)}\n"
            "  Look at the weights that equivalent() gives; and train a layer with dropout in"
            " one thread at a time."
        )


def _kernel(
    builtin: BuiltinName, weights: Weights, inputs: Tensor, states: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    outputs, final = backends.current().fused(builtin, inputs, [states], [weights])
    return outputs[0], final[0]


def _freezing(
    builtin: BuiltinName, inputs: Tensor, weights: Weights, is_padding: Tensor
) -> tuple[Tensor, Weights]:
    """One more input, 1 where a step is padding, that makes the kernel keep its state."""
    flag = ops.expand_dims(ops.cast(is_padding, inputs.dtype), -1)
    kernel = weights.kernel
    blocks = 4 if builtin == "lstm" else 3
    zeros = ops.zeros((1, kernel.shape[1] // blocks), dtype=kernel.dtype)
    shut, opened = zeros - _SATURATES, zeros + _SATURATES
    # LSTM: i is shut and f is open, so c stays. GRU: z is open, so h stays.
    row = [shut, opened, zeros, zeros] if builtin == "lstm" else [opened, zeros, zeros]
    kernel = ops.concatenate([kernel, ops.concatenate(row, axis=1)], axis=0)
    return ops.concatenate([inputs, flag], axis=-1), weights._replace(kernel=kernel)
