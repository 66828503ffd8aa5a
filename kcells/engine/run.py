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

A backend only turns the crank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from kcells.cells.losses import losses_noted
from kcells.cells.protocol import BoundCell
from kcells.engine import backends, fused, parallel
from kcells.engine.backends.base import Settings
from kcells.engine.backends.unrolled import scan as unrolled_scan
from kcells.engine.masks import harmless, select
from kcells.engine.options import LoopOptions
from kcells.engine.plan import Plan
from kcells.errors import CellError
from kcells.structure import plain
from kcells.types import Step, Structure, Tensor

__all__ = ["execute", "execute_both", "has_steps"]


def execute(
    plan: Plan,
    cell: BoundCell,
    inputs: Structure,
    states: Structure,
    mask: Tensor | None,
    outputs: Structure,
    options: LoopOptions,
    settings: Settings,
    constants: Structure = None,
) -> tuple[Structure, Structure]:
    """Runs `cell` over the sequences.

    Args:
        plan: the path to take.
        cell: the built cell.
        inputs: a structure of `(batch, time, ...)`.
        states: the initial state, in the structure of `cell.sizes`.
        mask: `(batch, time)` bool, or None.
        outputs: specs of the outputs of one step, for a plan with members a list with those
            of each; not needed where a kernel runs over some steps.
        options: the layer's options.
        settings: how to run a loop; the plan says whether it is compiled.
        constants: passed on to the cell.

    Returns:
        The outputs, `(batch, time, ...)` or those of the last step, and the final
        states.
    """
    first = tree.flatten(inputs)[0]
    if not has_steps(first):
        lead = ops.shape(first)[: 2 if options.return_sequences else 1]
        return _zeros(_of_the_last(plan, outputs), *lead), states
    inputs = tree.map_structure(_swap_batch_and_time, inputs)
    mask = None if mask is None else _swap_batch_and_time(mask)
    if options.go_backwards:
        inputs = tree.map_structure(lambda x: ops.flip(x, axis=0), inputs)
        mask = None if mask is None else ops.flip(mask, axis=0)
    found, states = _run(plan, cell, inputs, states, mask, outputs, options, settings, constants)
    if options.return_sequences:
        found = tree.map_structure(_swap_batch_and_time, found)
    return found, states


def has_steps(sequence: Tensor) -> bool:
    """Whether there is anything to run over: some steps, and numbers in them.

    Keras asks for the shapes of what a model returns by calling it on PyTorch's device
    "meta", where all that a loop of thousands of steps could tell is known before.
    """
    return bool(sequence.shape[1] != 0) and backends.current().has_numbers(sequence)


def _run(
    plan: Plan,
    cell: BoundCell,
    inputs: Structure,
    states: Structure,
    mask: Tensor | None,
    outputs: Structure,
    options: LoopOptions,
    settings: Settings,
    constants: Structure = None,
) -> tuple[Structure, Structure]:
    """`execute` with the time first, in the order of processing."""
    training = settings.training
    checkpoint = settings.checkpoint and not plan.machine.transformed
    settings = dataclasses.replace(settings, compiles=plan.compiles, checkpoint=checkpoint)
    if plan.members:
        return _one_after_the_other(plan, cell, inputs, states, mask, outputs, options, settings)
    if plan.calls_kernel:
        return fused.run(cell, inputs, states, mask, options, training)
    if mask is not None:
        inputs = harmless(inputs, mask)
    if plan.path == "parallel":
        with losses_noted(cell.cell) as losses:
            found, states = parallel.run(cell, inputs, states, mask, options, training, settings)
        _check_no_losses(cell, losses)
        return _like(found, outputs), states
    step = _step_of(plan, cell, training, constants)
    batch = ops.shape(tree.flatten(inputs)[0])[1]
    if plan.hoists:
        settings = dataclasses.replace(settings, project=lambda x: cell.project(x, training))
    reads_state = constants is None and cell.returns_first_state
    loop = _Loop(cell, step, states, _zeros(outputs, batch), mask, outputs, options, reads_state)
    scan = unrolled_scan if plan.kernel == "unrolled" else backends.current().scan
    return loop.run(scan, inputs, settings)


def _check_no_losses(cell: BoundCell, losses: Sequence[Tensor]) -> None:
    """Raises `CellError` if what sees many steps at once has added a loss."""
    if losses:
        raise CellError(
            f"{cell.name} calls add_loss where it sees many steps at once: in project_inputs or"
            " linear_recurrence, or in what these call.\n"
            "  How many that are depends on the machine, and so would the loss. Add it in step or"
            " in call, which see one step each."
        )


def _one_after_the_other(
    plan: Plan,
    cell: BoundCell,
    inputs: Structure,
    states: Structure,
    mask: Tensor | None,
    outputs: Sequence[Structure],
    options: LoopOptions,
    settings: Settings,
) -> tuple[Structure, Structure]:
    """The cells of a stack, each over the whole sequence."""
    new_states = []
    whole = dataclasses.replace(options, return_sequences=True, zero_output_for_mask=False)
    wanted = [*[whole] * (len(plan.members) - 1), options]
    parts = zip(plan.members, cell.members, states, outputs, wanted, strict=True)
    for own, member, entry, specs, its_options in parts:
        start = member.conform_states(entry, "states")
        inputs, end = _run(own, member, inputs, start, mask, specs, its_options, settings)
        new_states.append(member.as_entry(end))
    return inputs, cell.conform_states(new_states, f"the new states of {cell.name}")


def _step_of(plan: Plan, cell: BoundCell, training: bool, constants: Structure) -> Step:
    """One step of the cell: `(inputs, states) -> (outputs, new_states)`."""
    if plan.hoists:
        return lambda x, states: cell.step(x, states, training)
    if cell.hoists and constants is None:
        return lambda x, states: cell.step(cell.project(x, training), states, training)
    return lambda x, states: cell(x, states, training, constants)


def execute_both(
    forward: BoundCell,
    backward: BoundCell,
    inputs: Tensor,
    states: tuple[Structure, Structure],
    mask: Tensor | None,
    options: LoopOptions,
) -> list[tuple[Structure, Structure]]:
    """Runs two equivalent cells in both directions of time, in one call of a kernel.

    Args:
        forward, backward: the built cells.
        inputs: `(batch, time, features)`.
        states: the initial states of both.
        mask: `(batch, time)` bool, or None.
        options: what the layers of both share.

    Returns:
        For each what `execute` returns.
    """
    mask = None if mask is None else _swap_batch_and_time(mask)
    results = fused.run_both(forward, backward, _swap_batch_and_time(inputs), states, mask, options)
    if not options.return_sequences:
        return results
    return [(_swap_batch_and_time(outputs), new) for outputs, new in results]


class _Loop:
    """The body of the loop, and what goes in and out of it.

    Where a step adds losses, their sum is carried along, and added when the loop is over.
    """

    def __init__(
        self,
        cell: BoundCell,
        cell_step: Step,
        states: Structure,
        zeros: Structure,
        mask: Tensor | None,
        outputs: Structure,
        options: LoopOptions,
        returns_first_state: bool,
    ) -> None:
        self._cell, self._cell_step = cell, cell_step
        self._mask = mask
        self.zeros = zeros
        self._outputs = outputs
        self._options = options
        repeats = mask is not None and not options.zero_output_for_mask
        # Without a mask the last output is then in the last state.
        self._reads_state = returns_first_state and mask is None and not options.return_sequences
        self._keeps_last = repeats or not (options.return_sequences or self._reads_state)
        self._unforeseen: list[Tensor] = []
        self.carry = {"states": states, "last": zeros if self._keeps_last else []}
        self.emits = outputs if options.return_sequences else []

    def run(self, scan: Any, inputs: Structure, settings: Settings) -> tuple[Structure, Structure]:
        """The outputs, `(time, batch, ...)` or those of the last step, and the final states."""
        try:
            carry, ys = self._scanned(scan, inputs, settings)
        except _UnforeseenLossError:
            # Added in training alone, say, and the trace of a step knew nothing of that.
            self._cell.adds_losses = True
            carry, ys = self._scanned(scan, inputs, settings)
        for loss in carry["losses"]:
            self._cell.add_loss(loss)
        if self._options.return_sequences:
            return ys, carry["states"]
        if self._reads_state:
            return _like(tree.flatten(carry["states"])[0], self._outputs), carry["states"]
        return carry["last"], carry["states"]

    def _scanned(
        self, scan: Any, inputs: Structure, settings: Settings
    ) -> tuple[Structure, Structure]:
        """The last carry, and all outputs if they are wanted."""
        cuts = [] if self._options.tbptt is None else _cuts(self._options.tbptt, inputs, self._mask)
        project = settings.project
        if project is not None:
            settings = dataclasses.replace(
                settings, project=lambda xs: {**xs, "inputs": project(xs["inputs"])}
            )
        # A sum over many steps is nothing for half precision.
        dtype = "float64" if self._cell.compute_dtype == "float64" else "float32"
        no_loss = [ops.zeros((), dtype)] if self._cell.adds_losses else []
        with losses_noted(self._cell.cell) as unforeseen:
            self._unforeseen = unforeseen
            carry, ys = scan(
                self.step,
                {**self.carry, "losses": no_loss},
                {"inputs": inputs, "valid": [] if self._mask is None else self._mask, "cut": cuts},
                emits=self.emits,
                variables=_variables(self._cell),
                settings=dataclasses.replace(
                    settings, fixed=[*settings.fixed, *tree.flatten(self.zeros)]
                ),
            )
        _check_no_losses(self._cell, unforeseen)
        return carry, ys

    def step(self, carry: Structure, x: Structure) -> tuple[Structure, Structure]:
        states = carry["states"]
        seen = states
        if self._options.tbptt is not None:
            # What a masked step hands on keeps its gradient.
            seen = select(x["cut"], tree.map_structure(ops.stop_gradient, states), states)
        output, new_states, losses = self._one_step(x["inputs"], seen, carry["losses"])
        output = _like(output, self._outputs)
        new_states = tree.map_structure(lambda n, o: ops.cast(n, o.dtype), new_states, states)
        if self._mask is not None:
            masked = self.zeros if self._options.zero_output_for_mask else carry["last"]
            output = select(x["valid"], output, masked)
            new_states = select(x["valid"], new_states, states)
        last = output if self._keeps_last else []
        return {"states": new_states, "last": last, "losses": losses}, (
            output if self._options.return_sequences else []
        )

    def _one_step(
        self, x: Structure, states: Structure, losses: list[Tensor]
    ) -> tuple[Structure, Structure, list[Tensor]]:
        """A step of the cell, and the sum of losses with those that it has added."""
        if not losses:
            before = len(self._unforeseen)
            output, new_states = self._cell_step(x, states)
            if len(self._unforeseen) > before:
                raise _UnforeseenLossError
            return output, new_states, losses
        # At each step, as a backward pass may run one again when the loop is over.
        with losses_noted(self._cell.cell) as added:
            output, new_states = self._cell_step(x, states)
        total = losses[0]
        return output, new_states, [total + sum(ops.cast(loss, total.dtype) for loss in added)]


class _UnforeseenLossError(Exception):
    """A step has added a loss, and the carry has no place for one."""


def _cuts(steps: int, inputs: Structure, mask: Tensor | None) -> Tensor:
    """Before which steps the gradient is cut: `(time,)`, or `(time, batch)` under a mask.

    Only steps that count are counted, as if the others were not there.
    """
    if mask is None:
        count = ops.arange(ops.shape(tree.flatten(inputs)[0])[0], dtype="int32")
        return (count > 0) & (count % steps == 0)
    count = ops.cumsum(ops.cast(mask, "int32"), axis=0) - 1
    return mask & (count > 0) & (count % steps == 0)


def _variables(cell: BoundCell) -> list[Any]:
    """What a step may read or update: weights, seeds, and the counters of metrics."""
    if not isinstance(cell.cell, keras.layers.Layer):
        return []
    return [*cell.cell.variables, *cell.cell.metrics_variables]


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
    return _of_the_last(plan.members[-1], outputs[-1]) if plan.members else outputs


def _swap_batch_and_time(tensor: Tensor) -> Tensor:
    axes = list(range(len(tensor.shape)))
    axes[0], axes[1] = 1, 0
    return ops.transpose(tensor, axes)
