"""Everything that can be wrong with a call, said before anything is computed."""

from __future__ import annotations

import dataclasses

from keras import ops, tree

from kcells._keras_private import get_mask
from kcells.cells.protocol import BoundCell
from kcells.engine import backends
from kcells.engine.backends.base import SizeCheck
from kcells.engine.masks import combine, flags, with_lengths
from kcells.errors import ConfigurationError, StructureError, table
from kcells.structure import (
    agree,
    known_shape,
    leaves_with_paths,
    map_leaves,
    outline,
    plain,
    same_shape,
)
from kcells.types import Structure, Tensor

__all__ = ["CallChecks", "Given", "check_states", "checked_at_run_time"]


@dataclasses.dataclass(frozen=True)
class Given:
    """The arguments of a call after the checks.

    Attributes:
        sequences: a structure of plain containers.
        initial_state: in the structure of the state; None if it was not given.
        mask: all masks in one, `(batch, time)`; None if nothing is masked.
        reset: `(batch, time)` bool; None if no step starts anew.
    """

    sequences: Structure
    initial_state: Structure
    mask: Tensor | None
    reset: Tensor | None


@dataclasses.dataclass(frozen=True)
class CallChecks:
    """What the arguments of a call are held against.

    Attributes:
        who: the layer, for messages.
        cell: the layer's cell.
        unroll: the layer's option of that name.
        remembered_batch: the batch size of a stateful layer that is built.
    """

    who: str
    cell: BoundCell
    unroll: bool
    remembered_batch: int | None

    def check(
        self,
        sequences: Structure,
        initial_state: Structure,
        mask: Structure,
        constants: Structure,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Given:
        """The arguments in plain containers.

        Raises:
            StructureError, ConfigurationError: see `kcells.RNN`.
        """
        sequences = plain(sequences)
        _check_dense(sequences, self.who)
        batch, time = agree(sequences, "inputs", self.who)
        self._check_length(sequences, time)
        self._check_constants(constants)
        self._check_batch_size(batch)
        if initial_state is not None:
            initial_state = check_states(self.cell, initial_state, batch, "initial_state", self.who)
        if mask is None:
            mask = map_leaves(lambda leaf, _: get_mask(leaf), sequences)
        # From here on one symbol for the length will do; the masks were on the tensors before.
        first, backend = tree.flatten(sequences)[0], backends.current()
        sequences = map_leaves(lambda leaf, _: backend.as_long_as(leaf, first), sequences)
        combined = combine(mask, sequences, self.who)
        if lengths is not None:
            combined = with_lengths(combined, lengths, sequences, self.who)
        if reset is not None:
            reset = flags(reset, sequences, "reset", self.who)
        return Given(sequences, initial_state, combined, reset)

    def _check_length(self, sequences: Structure, time: int | None) -> None:
        # The tensor that TorchScript has for a size holds the number.
        is_traced = ops.is_tensor(tree.flatten(sequences)[0].shape[1])
        if self.unroll and time is None and not is_traced:
            raise ConfigurationError(
                f"{self.who}: unroll=True needs the number of time steps, which is not known.\n"
                "  Give it: keras.Input(shape=(time, features)); or leave unroll out."
            )

    def _check_constants(self, constants: Structure) -> None:
        if constants is not None and not self.cell.takes("constants"):
            raise ConfigurationError(
                f"{self.who}: constants were passed, and {self.cell.name}.call has no"
                " parameter of that name.\n"
                "  Add it: call(self, inputs, states, constants=None)."
            )

    def _check_batch_size(self, batch: int | None) -> None:
        if None not in (batch, self.remembered_batch) and batch != self.remembered_batch:
            raise StructureError(
                f"{self.who}: the layer is stateful, and its batch size is fixed.\n"
                f"  batch size of the remembered states: {self.remembered_batch}\n"
                f"  batch size of the inputs:            {batch}\n"
                "  Feed batches of one size; fit(batch_size=...) must divide the data."
            )


def _check_dense(sequences: Structure, who: str) -> None:
    for path, leaf in leaves_with_paths(sequences, "inputs"):
        symbolic = getattr(leaf, "ragged", False) or getattr(leaf, "sparse", False)
        how = "keras.Input(...) without sparse= and ragged="
        made = how if symbolic else backends.current().made_dense(leaf)
        if made is not None:
            raise StructureError(
                f"{who}: {path} is no dense tensor, but a {type(leaf).__name__}.\n  Pass {made}."
            )


def check_states(
    cell: BoundCell, states: Structure, batch: int | None, root: str, who: str
) -> Structure:
    """`states` in the structure of the cell's state.

    Raises:
        StructureError: if the structure or a shape does not fit.
    """
    states = cell.conform_states(plain(states), root)
    sizes = [size for _, size in leaves_with_paths(cell.sizes, root)]
    rows = []
    for (path, leaf), size in zip(leaves_with_paths(states, root), sizes, strict=True):
        wanted = size.batched(batch)
        shape = known_shape(leaf)
        if not same_shape(shape, wanted):
            rows.append((path, f"needed {wanted}", f"received {shape}"))
    if rows:
        raise StructureError(
            f"{who}: {root} has leaves of the wrong shape.\n{table(rows)}\n"
            f"  Each is (batch, ...) as in {cell.name}.state_size: {outline(cell.sizes)}."
        )
    return states


def checked_at_run_time(given: Given, states: Structure, who: str) -> tuple[Given, Structure]:
    """`given` and `states`, which wait for the sizes that are known only when the call runs.

    Without it TensorFlow would broadcast a state of batch 1, or take the first steps of a
    longer sequence, and say nothing.
    """
    reference = tree.flatten(given.sequences)[0]
    timed = list(leaves_with_paths(given.sequences, "inputs"))
    timed += [
        (name, leaf)
        for name, leaf in (("mask", given.mask), ("reset", given.reset))
        if leaf is not None
    ]
    axes = ((0, "batch"), (1, "time"))
    checks = [
        SizeCheck(path, leaf, axis, reference, name)
        for path, leaf in timed
        if leaf is not reference
        for axis, name in axes
    ]
    checks += [
        SizeCheck(path, leaf, 0, reference, "batch")
        for path, leaf in leaves_with_paths(states, "the state")
    ]
    tensors = [given.sequences, given.mask, given.reset, states]
    sequences, mask, reset, states = backends.current().checked(tensors, checks, who)
    given = dataclasses.replace(given, sequences=sequences, mask=mask, reset=reset)
    return given, states
