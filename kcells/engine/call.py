"""One call of a recurrent layer: all that the engine needs to run it, as one object."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import keras
from keras import ops, tree

from kcells.cells.dropout import sequence_masks
from kcells.cells.protocol import BoundCell
from kcells.engine import backends
from kcells.engine.backends.base import Settings
from kcells.engine.facts import CallFacts, facts_of
from kcells.engine.kernels import Machine
from kcells.engine.options import Options
from kcells.engine.plan import Plan, choose
from kcells.engine.products import InputProduct
from kcells.types import Structure, Tensor

__all__ = ["Call", "plan_for"]


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a recurrent layer that is checked and has not run.

    Attributes:
        cell: the built cell.
        options: the layer's options.
        plan: how it will run.
        sequences: a structure, in plain containers, of `(batch, time, ...)`.
        states: the states to start from, in the structure of `cell.sizes`.
        from_zeros: whether these are nothing but the zeros of one of Keras' own cells.
        mask: all masks in one, `(batch, time)`; None if nothing is masked.
        reset: `(batch, time)` bool, true where a step starts from `fresh`; None if none does.
        fresh: what these steps start from, in the structure of `states`; None without them.
        constants: passed on to the cell.
        training: whether dropout is on.
        outputs: specs of the outputs of one step, for a plan with members a list with those
            of each, and for one of a wrapper with its own after them; None where a kernel runs
            over some steps, and then for the wrapper around it too.
        obstacles: what loops have met that could not be compiled; a stack has several.
        products: those of the inputs that are computed before each loop that looked for them.
        masks: the masks of dropout, drawn for this call.
        again: runs a function with everything that was around the call, for a backend that
            repeats steps when the call is over.
    """

    cell: BoundCell
    options: Options
    plan: Plan
    sequences: Structure
    states: Structure
    from_zeros: bool = False
    mask: Tensor | None = None
    reset: Tensor | None = None
    fresh: Structure = None
    constants: Structure = None
    training: bool = False
    outputs: Structure = None
    obstacles: list[str] = dataclasses.field(default_factory=list)
    products: list[Sequence[InputProduct]] = dataclasses.field(default_factory=list)
    masks: list[Tensor] = dataclasses.field(default_factory=list)
    again: Callable[[Callable[[], Any]], Any] = lambda run: run()

    @property
    def first(self) -> Tensor:
        """The first of the sequences, for sizes that all of them share."""
        return tree.flatten(self.sequences)[0]

    @contextlib.contextmanager
    def begun(self) -> Iterator[Call]:
        """The call with the time first, in the order of processing, and with masks of dropout."""
        again = _surroundings(self) if self.options.checkpoint else self.again
        batch = ops.shape(self.first)[0]
        with sequence_masks(self.cell.cell, batch, self.training) as masks:
            yield dataclasses.replace(
                self,
                sequences=tree.map_structure(self._in_order, self.sequences),
                mask=None if self.mask is None else self._in_order(self.mask),
                reset=None if self.reset is None else self._starts(),
                masks=masks,
                again=again,
            )

    def _in_order(self, tensor: Tensor) -> Tensor:
        swapped = swap_batch_and_time(tensor)
        return ops.flip(swapped, axis=0) if self.options.go_backwards else swapped

    def _starts(self) -> Tensor:
        """The steps that start anew, in order: a masked one does not."""
        reset = self._in_order(self.reset)
        return reset if self.mask is None else ops.logical_and(reset, self._in_order(self.mask))

    def of_member(self, k: int, sequences: Structure) -> Call:
        """The call of a cell of a stack, on what the one below it gives."""
        cell, options = self.cell.members[k], self.options
        if k + 1 < len(self.plan.members):
            options = dataclasses.replace(
                options, return_sequences=True, zero_output_for_mask=False
            )
        return dataclasses.replace(
            self,
            cell=cell,
            options=options,
            plan=self.plan.members[k],
            sequences=sequences,
            states=cell.conform_states(self.states[k], "states"),
            fresh=None if self.fresh is None else cell.conform_states(self.fresh[k], "states"),
            outputs=self.outputs[k],
        )

    def of_wrapped(self, sequences: Structure) -> Call:
        """The call of the cell inside of a wrapper, on what the wrapper makes of the inputs."""
        return dataclasses.replace(
            self,
            cell=cast(BoundCell, self.cell.wrapped),
            plan=self.plan.members[0],
            sequences=sequences,
            outputs=self.outputs[0],
        )

    def met(self, before: CallFacts) -> CallFacts:
        """What its loops have met, for who asks how the next call will run.

        Args:
            before: what earlier calls have met.
        """
        if self.obstacles:
            before = dataclasses.replace(before, obstacle=next(filter(None, self.obstacles), ""))
        if self.products:
            before = dataclasses.replace(
                before, products=tuple(p for some in self.products for p in some)
            )
        return before

    def settings(self, **more: Any) -> Settings:
        """How the backend is to run the loop of this call."""
        return Settings(
            compiles=self.plan.compiles,
            compiles_at_once=self.options.compile == "always",
            training=self.training,
            note=self.obstacles.append,
            ahead=self.products.append if self.plan.seeks_products else None,
            again=self.again,
            own_backward=self.options.compile != "never",
            **more,
        )


def swap_batch_and_time(tensor: Tensor) -> Tensor:
    """`(time, batch, ...)` from `(batch, time, ...)`, and back."""
    axes = list(range(len(tensor.shape)))
    axes[0], axes[1] = 1, 0
    return ops.transpose(tensor, axes)


def plan_for(
    cell: BoundCell,
    options: Options,
    given: Structure = None,
    call: CallFacts = CallFacts(),  # noqa: B008  # frozen
) -> Plan:
    """The plan for a call on this machine.

    Args:
        cell: the layer's cell.
        options: the layer's options.
        given: what goes into the call, the sequences first: for their device, which is the
            backend's by default, and for a transform that looks inside.
        call: what else is known of it.
    """
    backend = backends.current()
    machine = Machine(
        keras.backend.backend(),
        backend.device(tree.flatten(given)[0]),
        cell.compute_dtype,
        backend.under_xla(),
        backend.transformed(_all_that_goes_in(cell.cell, given)),
        backend.writes(),
    )
    return choose(facts_of(cell), options, machine, call)


def _all_that_goes_in(cell: Any, given: Structure) -> Iterator[Tensor]:
    yield from tree.flatten(given)
    if isinstance(cell, keras.layers.Layer):
        yield from (variable.value for variable in cell.variables)


class _Inside(keras.layers.Layer):
    """Runs a function inside of a call: with the dtypes and the `training` of one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    def call(self, *, run: Callable[[], Any], training: bool = False) -> Any:
        return run()


def _surroundings(call: Call) -> Callable[[Callable[[], Any]], Any]:
    """A way to run a step as it would run now, at any later time.

    From the seeds as they are now, the same masks of dropout are drawn again.
    """
    cell, batch = call.cell.cell, ops.shape(call.first)[0]
    variables = cell.variables if isinstance(cell, keras.layers.Layer) else []
    seeds = [(v, ops.copy(ops.convert_to_tensor(v))) for v in variables if not v.trainable]
    inside = _Inside(dtype=call.cell.owner.dtype_policy)

    def again(run: Callable[[], Any]) -> Any:
        def with_masks() -> Any:
            # They are drawn, and forgotten again, without moving the seeds of today.
            with keras.StatelessScope(seeds), sequence_masks(cell, batch, call.training):
                return run()

        return inside(run=with_masks, training=call.training)

    return again
