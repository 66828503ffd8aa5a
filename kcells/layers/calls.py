"""A call of a recurrent layer, and a way to watch all of them for the time of a `with`."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

from kcells.engine.plan import Plan
from kcells.types import Structure, Tensor

__all__ = ["Call", "calls_noted", "note_call"]


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a recurrent layer that is checked and has not run.

    Attributes:
        layer: the layer.
        plan: how it will run.
        sequences: a structure of plain containers.
        states: the states to start from.
        mask: all masks in one, `(batch, time)`; None if nothing is masked.
        batch: the batch size.
        takes_constants: whether constants were passed.
    """

    layer: Any
    plan: Plan
    sequences: Structure
    states: Structure
    mask: Tensor | None
    batch: Any
    takes_constants: bool


_NOTES: contextvars.ContextVar[list[Call] | None] = contextvars.ContextVar(
    "kcells_calls", default=None
)


@contextlib.contextmanager
def calls_noted() -> Iterator[list[Call]]:
    """A list that every call of a recurrent layer inside of the `with` is added to."""
    notes: list[Call] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note_call(call: Call) -> None:
    """Adds `call` to the list, if anybody asked for one."""
    notes = _NOTES.get()
    if notes is not None:
        notes.append(call)
