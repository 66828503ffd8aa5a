"""A way to watch all calls of recurrent layers for the time of a `with`."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from kcells.engine.call import Call

__all__ = ["calls_noted", "note_call"]


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
