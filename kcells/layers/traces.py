"""What a cell gives for inputs of certain shapes, found out once and kept."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from kcells.cells.inference import infer_before, infer_step
from kcells.cells.protocol import BoundCell
from kcells.engine.plan import Plan
from kcells.engine.run import has_steps
from kcells.structure import known_shape, leaves_with_paths, map_leaves, plain
from kcells.types import Structure

__all__ = ["Traces", "one_step"]


class Traces:
    """The outputs of one step, by the shapes and dtypes of the inputs.

    An object of its own, so that Keras does not track the specs.

    Attributes:
        latest: what was found last; None before the first time.
        lengths: the numbers of steps that the layer was built and symbolically called for.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Structure] = {}
        self.latest: Structure = None
        self.lengths: set[int | None] = set()

    def for_plan(
        self, plan: Plan, cell: BoundCell, sequences: Structure, constants: Structure
    ) -> Structure:
        """What `execute` wants to know of the outputs of one step, for this plan."""
        if plan.calls_kernel and has_steps(tree.flatten(sequences)[0]):
            return None
        if plan.wraps and cell.wrapped is not None:
            return self._around(plan.members[0], cell, cell.wrapped, sequences, constants)
        if not plan.members:
            return self.outputs(cell, sequences, constants)
        found = []
        for own, member in zip(plan.members, cell.members, strict=True):
            # Of each, since the one above needs to know what it gets.
            outputs = self.outputs(member, sequences, None)
            found.append(self.for_plan(own, member, sequences, None) if own.members else outputs)
            sequences = map_leaves(_with_time, outputs)
        return found

    def _around(
        self,
        plan: Plan,
        wrapper: BoundCell,
        wrapped: BoundCell,
        sequences: Structure,
        constants: Structure,
    ) -> list[Structure]:
        """What is wanted of the cell in a wrapper, whose plan this is, and of the wrapper."""
        if plan.calls_kernel:
            first = tree.flatten(sequences)[0]
            needed = isinstance(first, keras.KerasTensor) or not has_steps(first)
            return [None, self.outputs(wrapper, sequences, constants) if needed else None]
        # Of one batch size with the constants.
        batch = known_shape(tree.flatten(sequences)[0])[0]
        before = map_leaves(
            lambda spec, _: keras.KerasTensor((batch, None, *spec.shape[1:]), spec.dtype),
            self.before(wrapper, sequences),
        )
        inside = self.for_plan(plan, wrapped, before, constants)
        return [inside, self.outputs(wrapper, sequences, constants)]

    def outputs(self, cell: BoundCell, sequences: Structure, constants: Structure) -> Structure:
        """Specs of the outputs of one step, `(None, ...)`, for these inputs."""
        step = one_step(map_leaves(_spec, sequences))
        specs = None if constants is None else map_leaves(_spec, plain(constants))
        key = (id(cell), *_key(step, "x"), *_key(specs, "c"))
        if key not in self._known:
            outputs, _ = infer_step(cell, step, specs)
            self._known[key] = map_leaves(_of_any_batch, outputs)
        self.latest = self._known[key]
        return self.latest

    def before(self, cell: BoundCell, sequences: Structure) -> Structure:
        """Specs, `(None, ...)`, of what a wrapper makes of one step of these inputs."""
        step = one_step(map_leaves(_spec, sequences))
        key = (id(cell), "before", *_key(step, "x"))
        if key not in self._known:
            self._known[key] = map_leaves(_of_any_batch, infer_before(cell.cell, step))
        return self._known[key]


def _key(specs: Structure, root: str) -> tuple[Any, ...]:
    return tuple(
        (path, leaf if leaf is None else (tuple(leaf.shape[1:]), leaf.dtype))
        for path, leaf in leaves_with_paths(specs, root)
    )


def one_step(sequences: Structure) -> Structure:
    """Specs `(batch, ...)` from specs `(batch, time, ...)`."""
    # Keras' own cells cannot be traced with an empty batch.
    return map_leaves(
        lambda s, _: keras.KerasTensor((s.shape[0] or None, *s.shape[2:]), dtype=s.dtype), sequences
    )


def _of_any_batch(spec: Any, path: str) -> keras.KerasTensor:
    return keras.KerasTensor((None, *spec.shape[1:]), dtype=spec.dtype)


def _with_time(spec: Any, path: str) -> keras.KerasTensor:
    return keras.KerasTensor((None, None, *spec.shape[1:]), dtype=spec.dtype)


def _spec(leaf: Any, path: str) -> keras.KerasTensor:
    return keras.KerasTensor(tuple(leaf.shape), dtype=keras.backend.standardize_dtype(leaf.dtype))
