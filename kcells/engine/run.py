"""Runs a cell over time, in the way that a plan says.

All that a path has in common is here, written once:

    x = projected inputs, time first, reversed if go_backwards
    state, last = initial state, zeros
    x[t] where mask[t], else an x that counts     # so that no gradient is NaN
    for t in time:
        output, new = step(x[t], state)            # every k steps: a state without gradient
        if there is a mask:                       # False: this step does not count
            output = output where mask[t], else zeros or last
            new    = new    where mask[t], else state
        state, last = new, output
        emit output                               # if all outputs are asked for

A backend only turns the crank. A cell in a wrapper runs like this, between what the wrapper does
before it for all steps, and after it for all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from kcells.cells.losses import losses_noted
from kcells.cells.protocol import BoundCell
from kcells.engine import backends, fused, parallel
from kcells.engine.backends.unrolled import scan as unrolled_scan
from kcells.engine.call import Call, swap_batch_and_time
from kcells.engine.masks import harmless, only_where, positions, select
from kcells.engine.plan import Plan
from kcells.engine.rows import Rows, carried_on, last_of, nothing_of
from kcells.errors import CellError
from kcells.structure import plain
from kcells.types import Structure, Tensor

__all__ = ["Ran", "execute", "has_steps"]


class Ran(NamedTuple):
    """What a run has given.

    Attributes:
        outputs: `(batch, time, ...)` or those of the last step.
        states: the final ones.
        all_states: those after every step, `(batch, time, ...)`, if the options want them.
    """

    outputs: Structure
    states: Structure
    all_states: Structure = None


def execute(call: Call) -> Ran:
    """Runs the cell over the sequences."""
    if not has_steps(call.first):
        lead = ops.shape(call.first)[: 2 if call.options.return_sequences else 1]
        outputs = _zeros(_of_the_last(call.plan, call.outputs), *lead)
        none_yet = tree.map_structure(lambda state: ops.expand_dims(state, 1)[:, :0], call.states)
        return Ran(outputs, call.states, none_yet if call.options.return_all_states else None)
    with call.begun() as begun:
        ran = _run(begun)
    if call.options.return_sequences:
        ran = ran._replace(outputs=tree.map_structure(swap_batch_and_time, ran.outputs))
    if call.options.return_all_states:
        ran = ran._replace(all_states=tree.map_structure(swap_batch_and_time, ran.all_states))
    return ran


def has_steps(sequence: Tensor) -> bool:
    """Whether there is anything to run over: some steps, and numbers in them.

    Keras asks for the shapes of what a model returns by calling it on PyTorch's device
    "meta", where all that a loop of thousands of steps could tell is known before.
    """
    return bool(sequence.shape[1] != 0) and backends.current().has_numbers(sequence)


def _run(call: Call) -> Ran:
    """`execute` with the time first, in the order of processing."""
    if call.plan.wraps:
        return _around(call)
    if call.plan.members:
        return _one_after_the_other(call)
    if call.plan.calls_kernel:
        return Ran(*fused.run(call))
    inputs = call.sequences if call.mask is None else harmless(call.sequences, call.mask)
    if call.plan.path != "parallel":
        return _Loop(call, inputs).run()
    found, states, all_states = _without_losses(call.cell, lambda: parallel.run(call, inputs))
    return Ran(_like(found, call.outputs), states, all_states)


def _check_no_losses(cell: BoundCell, losses: Sequence[Tensor]) -> None:
    """Raises `CellError` if what sees many steps at once has added a loss."""
    if losses:
        raise CellError(
            f"{cell.name} calls add_loss where it sees many steps at once: in project_inputs or"
            " linear_recurrence, in before or after of a wrapper, or in what these call.\n"
            "  How many that are depends on the machine, and so would the loss. Add it in step or"
            " in call, which see one step each."
        )


def _around(call: Call) -> Ran:
    """A cell in a wrapper: what is before and after it is done for all steps at once.

    Under a mask that includes steps that do not count. They get what a step that counts gets,
    so that whatever the wrapper does there is harmless, and their results are replaced.
    """
    wrapper, options, mask = call.cell.cell, call.options, call.mask
    x = call.sequences if mask is None else harmless(call.sequences, mask)
    with wrapper.scope():
        before = _without_losses(call.cell, lambda: wrapper.before(x, training=call.training))
        ran = _run(call.of_wrapped(plain(before)))
        y = ran.outputs
        if not options.return_sequences:
            x, mask = _the_last(x, mask, options.zero_output_for_mask)
            y = tree.map_structure(lambda leaf: ops.expand_dims(leaf, 0), y)
        if mask is not None:
            x, y = harmless((x, y), mask)
        y = _without_losses(call.cell, lambda: wrapper.after(x, y, training=call.training))
    y = plain(y) if call.outputs[1] is None else _like(y, call.outputs[1])
    if mask is not None and options.return_sequences and not options.zero_output_for_mask:
        y = tree.map_structure(Rows(mask).repeated, y)
    elif mask is not None:
        y = tree.map_structure(lambda leaf: only_where(mask, leaf), y)
    if not options.return_sequences:
        y = tree.map_structure(lambda leaf: leaf[0], y)
    return ran._replace(outputs=y)


def _the_last(
    x: Structure, mask: Tensor | None, zero_output_for_mask: bool
) -> tuple[Structure, Tensor | None]:
    """The step that gives the last output, as a sequence of one, and in which rows there is one."""
    if mask is not None and not zero_output_for_mask:
        rows = Rows(mask)
        last, valid = tree.map_structure(rows.last, x), rows.has_steps
    else:
        last = tree.map_structure(lambda leaf: last_of(leaf, nothing_of(leaf)), x)
        first = tree.flatten(x)[0]
        valid = None if mask is None else last_of(mask, nothing_of(mask))
        if mask is None and first.shape[0] is None:
            valid = ops.broadcast_to(ops.shape(first)[0] > 0, (ops.shape(first)[1],))
    one = tree.map_structure(lambda leaf: ops.expand_dims(leaf, 0), last)
    return one, None if valid is None else ops.expand_dims(valid, 0)


def _without_losses(cell: BoundCell, function: Callable[[], Structure]) -> Structure:
    """What a function gives that sees many steps at once."""
    with losses_noted(cell.cell) as losses:
        result = function()
    _check_no_losses(cell, losses)
    return result


def _one_after_the_other(call: Call) -> Ran:
    """The cells of a stack, each over the whole sequence."""
    sequences, new_states, all_states = call.sequences, [], []
    for k, member in enumerate(call.cell.members):
        ran = _run(call.of_member(k, sequences))
        sequences = ran.outputs
        new_states.append(member.as_entry(ran.states))
        if call.options.return_all_states:
            all_states.append(member.as_entry(ran.all_states))
    who = f"the new states of {call.cell.name}"
    return Ran(
        sequences,
        call.cell.conform_states(new_states, who),
        call.cell.conform_states(all_states, who) if all_states else None,
    )


class _Loop:
    """The body of the loop, and what goes in and out of it.

    Where a step adds losses, their sum is carried along, and added when the loop is over.
    """

    def __init__(self, call: Call, inputs: Structure) -> None:
        self._call, self._cell, self._options = call, call.cell, call.options
        self._inputs, self._mask, self._outputs = inputs, call.mask, call.outputs
        self._zeros = _zeros(call.outputs, ops.shape(tree.flatten(inputs)[0])[1])
        returns_all = call.options.return_sequences
        repeats = call.mask is not None and not call.options.zero_output_for_mask
        # Without a mask the last output is then in the last state.
        first_state = call.constants is None and call.cell.returns_first_state
        self._reads_state = first_state and call.mask is None and not returns_all
        self._keeps_last = repeats or not (returns_all or self._reads_state)
        self._constants = self._cell.prepare_constants(call.constants)
        # No gradient goes through a file of these formats.
        in_file = call.plan.machine.file in ("onnx", "litert")
        self._tbptt = None if in_file else self._options.tbptt
        self._of_cell = self._cell.stepper(call.training, self._constants, call.plan.hoists)
        self._unforeseen: list[Tensor] = []
        self._carry = {
            "states": call.states,
            "last": self._zeros if self._keeps_last else [],
            "fresh": [] if call.reset is None else call.fresh,
        }

    def run(self) -> Ran:
        """What `_run` gives."""
        try:
            carry, ys = self._scanned()
        except _UnforeseenLossError:
            # Added in training alone, say, and the trace of a step knew nothing of that.
            self._cell.adds_losses = True
            carry, ys = self._scanned()
        for loss in carry["losses"]:
            self._cell.add_loss(loss)
        if self._options.return_sequences:
            outputs = ys["outputs"]
        elif self._reads_state:
            outputs = _like(tree.flatten(carry["states"])[0], self._outputs)
        else:
            outputs = carry["last"]
        all_states = ys["states"] if self._options.return_all_states else None
        return Ran(outputs, carry["states"], all_states)

    def _scanned(self) -> tuple[Structure, Structure]:
        """The last carry, and all outputs if they are wanted."""
        call, tbptt = self._call, self._tbptt
        # A sum over many steps is nothing for half precision.
        dtype = "float64" if self._cell.compute_dtype == "float64" else "float32"
        no_loss = [ops.zeros((), dtype)] if self._cell.adds_losses else []
        with losses_noted(self._cell.cell) as unforeseen:
            self._unforeseen = unforeseen
            scan = unrolled_scan if call.plan.kernel == "unrolled" else backends.current().scan
            carry, ys = scan(
                self._step,
                {**self._carry, "losses": no_loss},
                {
                    "inputs": self._inputs,
                    "valid": [] if self._mask is None else self._mask,
                    "reset": [] if call.reset is None else call.reset,
                    "cut": [] if tbptt is None else _cuts(tbptt, call),
                },
                emits=self._emitted(self._outputs, tree.map_structure(_spec, call.states)),
                variables=_variables(self._cell),
                settings=call.settings(
                    checkpoint=self._options.checkpoint and not call.plan.machine.transformed,
                    owner=self._cell,
                    kind=(
                        self._options,
                        call.training,
                        call.plan.hoists,
                        bool(no_loss),
                        self._paths(),
                    ),
                    constants=tree.flatten(self._constants),
                    fixed=[*call.masks, *tree.flatten(self._zeros)],
                    project=self._project if call.plan.hoists else None,
                ),
            )
        _check_no_losses(self._cell, unforeseen)
        return carry, ys

    def _paths(self) -> tuple[tuple[Any, ...], ...]:
        """Where the constants are in their structure."""
        return tuple(tuple(path) for path, _ in tree.flatten_with_path(self._constants))

    def _project(self, xs: Structure) -> Structure:
        """The input side of many steps."""
        return {**xs, "inputs": self._cell.project(xs["inputs"], self._call.training)}

    def _step(self, carry: Structure, x: Structure) -> tuple[Structure, Structure]:
        states = carry["states"]
        seen = states
        if self._tbptt is not None:
            # What a masked step hands on keeps its gradient.
            seen = select(x["cut"], tree.map_structure(ops.stop_gradient, states), states)
        if self._call.reset is not None:
            seen = select(x["reset"], carry["fresh"], seen)
        output, new_states, losses = self._one_step(x["inputs"], seen, carry["losses"])
        output = _like(output, self._outputs)
        new_states = tree.map_structure(lambda n, o: ops.cast(n, o.dtype), new_states, states)
        if self._mask is not None:
            masked = self._zeros if self._options.zero_output_for_mask else carry["last"]
            output = select(x["valid"], output, masked)
            new_states = select(x["valid"], new_states, states)
        new = {
            "states": new_states,
            "last": output if self._keeps_last else [],
            "fresh": carry["fresh"],
            "losses": losses,
        }
        return new, self._emitted(output, new_states)

    def _emitted(self, outputs: Structure, states: Structure) -> Structure:
        """What of a step is wanted besides the carry."""
        options = self._options
        return {
            "outputs": outputs if options.return_sequences else [],
            "states": states if options.return_all_states else [],
        }

    def _one_step(
        self, x: Structure, states: Structure, losses: list[Tensor]
    ) -> tuple[Structure, Structure, list[Tensor]]:
        """A step of the cell, and the sum of losses with those that it has added."""
        if not losses:
            before = len(self._unforeseen)
            output, new_states = self._of_cell(x, states)
            if len(self._unforeseen) > before:
                raise _UnforeseenLossError
            return output, new_states, losses
        # At each step, as a backward pass may run one again when the loop is over.
        with losses_noted(self._cell.cell) as added:
            output, new_states = self._of_cell(x, states)
        total = losses[0]
        return output, new_states, [total + sum(ops.cast(loss, total.dtype) for loss in added)]


class _UnforeseenLossError(Exception):
    """A step has added a loss, and the carry has no place for one."""


def _cuts(steps: int, call: Call) -> Tensor:
    """Before which steps the gradient is cut: `(time,)`, or `(time, batch)` by rows.

    Only steps that count are counted, as if the others were not there, and where one starts
    anew the count does too.
    """
    length, batch = ops.shape(call.first)[:2]
    if call.mask is None and call.reset is None:
        count = positions(length)
        return (count > 0) & (count % steps == 0)
    mask = ops.ones((length, batch), "bool") if call.mask is None else call.mask
    count = ops.cumsum(ops.cast(mask, "int32"), axis=0) - 1
    if call.reset is not None:
        count = count - carried_on(call.reset, count)
    return mask & (count > 0) & (count % steps == 0)


def _variables(cell: BoundCell) -> list[Any]:
    """What a step may read or update: weights, seeds, and the counters of metrics."""
    if not isinstance(cell.cell, keras.layers.Layer):
        return []
    return [*cell.cell.variables, *cell.cell.metrics_variables]


def _spec(leaf: Tensor) -> keras.KerasTensor:
    dtype = keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype=dtype)


def _like(output: Structure, specs: Structure) -> Structure:
    flat = [
        ops.cast(leaf, spec.dtype)
        for leaf, spec in zip(tree.flatten(plain(output)), tree.flatten(specs), strict=True)
    ]
    return tree.pack_sequence_as(specs, flat)


def _zeros(specs: Structure, *lead: Tensor) -> Structure:
    return tree.map_structure(
        lambda spec: ops.zeros((*lead, *spec.shape[1:]), dtype=spec.dtype), specs
    )


def _of_the_last(plan: Plan, outputs: Structure) -> Structure:
    """Specs of what the uppermost cell of a stack gives; of any other cell its own."""
    if plan.wraps:
        return outputs[1]
    return _of_the_last(plan.members[-1], outputs[-1]) if plan.members else outputs
