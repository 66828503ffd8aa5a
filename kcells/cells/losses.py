"""Losses that the layers of a cell add in a step.

Keras keeps a loss with the layer that adds it. In a loop that is traced it would be a
tensor of the body, of no use outside; and inside of a stateless scope it is dropped. So what
a step adds is taken aside here, for the loop to carry out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from kcells._keras_private import sublayers
from kcells.types import Tensor

__all__ = ["losses_noted"]


@contextlib.contextmanager
def losses_noted(cell: Any) -> Iterator[list[Tensor]]:
    """A list that takes what `cell`, or a layer in it, adds as a loss inside of the `with`."""
    noted: list[Tensor] = []
    layers = [part for part in sublayers(cell) if isinstance(part, keras.layers.Layer)]
    # In front of the method of the class; a `with` around this one may have done so too.
    before = [vars(layer).get("add_loss") for layer in layers]
    for layer in layers:
        vars(layer)["add_loss"] = lambda loss: noted.extend(tree.flatten(loss))
    try:
        yield noted
    finally:
        for layer, own in zip(layers, before, strict=True):
            vars(layer).pop("add_loss")
            if own is not None:
                vars(layer)["add_loss"] = own
