"""Where the steps that a mask lets count are, in every row of a batch.

Everything here has the time first and is in the order of processing.
"""

from __future__ import annotations

import keras
from keras import ops

from kcells.engine import backends
from kcells.engine.conditions import all_hold, sorting
from kcells.engine.kernels import Machine
from kcells.engine.masks import as_wide, only_where, picked, positions
from kcells.types import Tensor

__all__ = ["Rows", "carried_on", "ends_from", "last_of", "nothing_of"]


class Rows:
    """The steps that count.

    Args:
        mask: `(time, batch)` bool.
    """

    def __init__(self, mask: Tensor) -> None:
        length = ops.shape(mask)[0]
        time = ops.expand_dims(positions(length), 1)
        self.mask = mask
        self.count = ops.sum(ops.cast(mask, "int32"), axis=0)
        self.has_steps = self.count > 0
        self.is_padding = time >= self.count
        # Sorted numbers tell where they were, so that nothing has to sort places: PyTorch's
        # exporter for ONNX knows `sort`, and not what Keras calls for `argsort`.
        self._order = ops.sort(ops.where(mask, time, time + length), axis=0) % length

    def to_the_front(self, inputs: Tensor) -> Tensor:
        """`inputs` with the steps that count first, and zeros after them."""
        # Zeros come first: the gradient of a NaN would be a NaN, even where nobody reads.
        return _at(only_where(self.mask, inputs), self._order)

    def at_the_end(self, outputs: Tensor) -> Tensor:
        """What the last step that counts gave, of steps that were moved to the front.

        Of no meaning in a row without one.
        """
        return _at(outputs, self._last)[0]

    def last(self, outputs: Tensor) -> Tensor:
        """What the last step that counts gave, of steps that are where they were.

        Zero in a row without one, and if there turn out to be no steps at all.
        """
        until = ops.cumsum(ops.cast(self.mask, "int32"), axis=0)
        return picked(self.mask & (until == self.count), outputs)

    def back(
        self, outputs: Tensor, zero_output_for_mask: bool, from_the_end: bool = False
    ) -> Tensor:
        """Outputs of steps that were moved to the front, at the steps that they belong to.

        At a masked step that of the last valid step that was processed before it, or zero.
        """
        valid = ops.cast(self.mask, "int32")
        until = ops.cumsum(valid, axis=0)
        position = until - valid if from_the_end else until - 1
        known = position < self.count if from_the_end else position >= 0
        found = _at(outputs, ops.clip(position, 0, ops.maximum(self.count - 1, 0)))
        found = only_where(self.mask if zero_output_for_mask else known, found)
        return ops.flip(found, axis=0) if from_the_end else found

    def repeated(self, outputs: Tensor) -> Tensor:
        """`outputs`, where a masked step has that of the last valid step before it, or zero."""
        until = ops.cumsum(ops.cast(self.mask, "int32"), axis=0)
        source = _at(self._order, ops.maximum(until - 1, 0))
        return only_where(until > 0, _at(outputs, source))

    @property
    def _last(self) -> Tensor:
        return ops.expand_dims(ops.maximum(self.count - 1, 0), 0)


def carried_on(valid: Tensor, numbers: Tensor) -> Tensor:
    """`numbers`, where a step that is not valid has that of the last valid one before it, or zero.

    Args:
        valid: `(time, batch)` bool.
        numbers: `(time, batch)`, whole and below 2 ** 24.
    """
    machine = Machine(keras.backend.backend(), file=backends.current().writes())
    if all_hold(sorting(machine)):
        return Rows(valid).repeated(numbers)
    return _carried_on_by_steps(valid, numbers)


def _carried_on_by_steps(valid: Tensor, numbers: Tensor) -> Tensor:
    """As a recurrence that forgets all at a valid step, and nothing at any other."""
    keeps = ops.cast(ops.logical_not(valid), "float32")
    new = ops.cast(only_where(valid, numbers), "float32")
    found = backends.current().linear_scan(keeps, new, nothing_of(new), "elementwise")
    return ops.cast(found, numbers.dtype)


def ends_from(begins: Tensor, mask: Tensor | None) -> Tensor:
    """Where pieces end, for whoever comes from the end, from where they begin.

    Args:
        begins: `(batch, time)` bool: before which steps a new piece begins; before a masked step
            none does.
        mask: `(batch, time)` bool, or None.

    Returns:
        `(batch, time)` bool, true at the last step of a piece that counts, if there is one after
        it: for the step that counts next belongs to another piece.
    """
    if isinstance(begins, keras.KerasTensor):
        return begins  # A shape is all there is, and it is the same.
    begins = ops.transpose(begins)
    valid = ops.ones_like(begins) if mask is None else ops.transpose(mask)
    piece = ops.cumsum(ops.cast(ops.logical_and(begins, valid), "int32"), axis=0) + 1
    # In the order of the other direction, zero where no step has been that counts.
    piece, valid = ops.flip(piece, axis=0), ops.flip(valid, axis=0)
    seen = carried_on(valid, piece)
    before = ops.concatenate([ops.zeros_like(seen[:1]), seen[:-1]], axis=0)
    ends = valid & (before > 0) & (before != piece)
    return ops.transpose(ops.flip(ends, axis=0))


def last_of(sequence: Tensor, before: Tensor) -> Tensor:
    """The last of `sequence`; `before` if it turns out to have no steps."""
    if sequence.shape[0] is not None:
        return sequence[-1]
    return ops.concatenate([ops.expand_dims(before, 0), sequence[-1:]], axis=0)[-1]


def nothing_of(sequence: Tensor) -> Tensor:
    """Zeros in the place of a step of `sequence`."""
    return ops.zeros(ops.shape(sequence)[1:], dtype=sequence.dtype)


def _at(sequence: Tensor, index: Tensor) -> Tensor:
    """`sequence[index[t, b], b]` for every t and b."""
    return backends.current().steps_at(sequence, as_wide(index, sequence))
