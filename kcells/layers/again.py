"""What is around a call of a layer, brought back when the call is over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from kcells._keras_private import autocast_of
from kcells.cells.dropout import sequence_masks
from kcells.types import Tensor

__all__ = ["surroundings"]


def surroundings(
    layer: Any, batch: Tensor, training: bool
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A way to run a step of `layer` as it would run now, at any later time.

    To be called before the masks of dropout are drawn: from the seeds as they are now, the
    same masks are drawn again.
    """
    cell = layer.cell
    variables = cell.variables if isinstance(cell, keras.layers.Layer) else []
    seeds = [(v, ops.copy(ops.convert_to_tensor(v))) for v in variables if not v.trainable]

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        # Masks are drawn, and forgotten again, without moving the seeds of today.
        with (
            autocast_of(layer),
            keras.StatelessScope(seeds),
            sequence_masks(cell, batch, training),
        ):
            yield

    return again
