"""Losses that the layers of a cell add in a step.

Keras keeps a loss with the layer that adds it. In a loop that is traced it would be a
tensor of the body, of no use outside; and inside of a stateless scope it is dropped. So what
a step adds is taken aside here, for the loop to carry out.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from kcells._keras_private import sublayers
from kcells.types import Tensor

__all__ = ["losses_noted"]

_LOCK = threading.Lock()
_USERS: Counter[int] = Counter()


class _Here(threading.local):
    """The lists that take losses in this thread, by layer, the innermost last."""

    def __init__(self) -> None:
        self.lists: defaultdict[int, list[list[Tensor]]] = defaultdict(list)


_HERE = _Here()


@contextlib.contextmanager
def losses_noted(cell: Any) -> Iterator[list[Tensor]]:
    """A list that takes what `cell`, or a layer in it, adds as a loss inside of the `with`.

    That is in this thread alone: others may call the same layers.
    """
    noted: list[Tensor] = []
    layers = [part for part in sublayers(cell) if isinstance(part, keras.layers.Layer)]
    for layer in layers:
        _HERE.lists[id(layer)].append(noted)
        with _LOCK:
            _USERS[id(layer)] += 1
            # In front of the method of the class.
            vars(layer)["add_loss"] = _redirecting(layer)
    try:
        yield noted
    finally:
        for layer in layers:
            lists = _HERE.lists[id(layer)]
            lists.pop()
            if not lists:
                del _HERE.lists[id(layer)]
            with _LOCK:
                _USERS[id(layer)] -= 1
                if not _USERS[id(layer)]:
                    del _USERS[id(layer)]
                    vars(layer).pop("add_loss")


def _redirecting(layer: keras.layers.Layer) -> Any:
    def add_loss(loss: Any) -> None:
        lists = _HERE.lists.get(id(layer))
        if lists:
            lists[-1].extend(tree.flatten(loss))
        else:
            type(layer).add_loss(layer, loss)

    return add_loss
