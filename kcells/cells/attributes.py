"""What Python knows of a cell, as one value: two that are equal run the same step."""

from __future__ import annotations

import functools
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any

import keras

__all__ = ["snapshot"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class _Same:
    """Equal to itself alone, and alive as long as somebody compares with it."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._held is self._held

    def __hash__(self) -> int:
        return id(self._held)


def snapshot(cell: Any, without: Collection[int] = ()) -> Hashable:
    """All attributes of a cell and of the layers in it, as they are now.

    Numbers and strings count by value, other objects by identity; variables do not count, nor does
    what every layer of Keras has.

    Args:
        cell: the cell.
        without: `id`s of attributes that do not count either.

    Examples:

    >>> cell = keras.layers.GRUCell(4)
    >>> before = snapshot(cell)
    >>> before == snapshot(cell)
    True
    >>> cell.reset_after = False
    >>> before == snapshot(cell)
    False
    """
    return tuple(_facts(cell, frozenset(without), set()))


def _facts(value: Any, without: frozenset[int], seen: set[int]) -> Iterator[Hashable]:
    if isinstance(value, _PLAIN):
        yield value
    elif isinstance(value, keras.Variable) or id(value) in without or id(value) in seen:
        return
    elif isinstance(value, Mapping):
        for key, entry in list(value.items()):
            yield _Same(key) if not isinstance(key, _PLAIN) else key
            yield from _facts(entry, without, seen)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield len(value)
        for entry in value:
            yield from _facts(entry, without, seen)
    elif isinstance(value, keras.layers.Layer):
        seen.add(id(value))
        yield value.dtype_policy.name
        for name, entry in list(vars(value).items()):
            if name not in _of_every_layer():
                yield name
                yield from _facts(entry, without, seen)
    else:
        yield _Same(value)


@functools.cache
def _of_every_layer() -> frozenset[str]:
    layer = keras.layers.Layer()
    layer.build(())
    # What notes the losses of a call stands in the place of `add_loss` until the call is over.
    return frozenset({*vars(layer), "add_loss"})
