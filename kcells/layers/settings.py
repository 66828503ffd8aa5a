"""How a layer wants its loop run; and what is around a call, brought back when it is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kcells.cells.dropout import sequence_masks
from kcells.engine.backends.base import Settings
from kcells.types import Tensor

__all__ = ["settings_for"]


def settings_for(layer: Any, batch: Tensor, training: bool) -> Settings:
    """The settings for a call of a `kcells.RNN`, before the masks of dropout are drawn."""
    settings = Settings(
        checkpoint=layer.checkpoint,
        training=training,
        note=_noting_obstacles(layer),
        own_backward=layer.compile != "never",
    )
    if not layer.checkpoint:
        return settings
    return dataclasses.replace(settings, again=_surroundings(layer, batch, training))


def _noting_obstacles(layer: Any) -> Callable[[str], None]:
    """Writes down what the loops of this call meet; a stack has several."""
    met: list[str] = []

    def note(obstacle: str) -> None:
        met.append(obstacle)
        layer.obstacle = next(filter(None, met), "")

    return note


class _Call(keras.layers.Layer):
    """Runs a function inside of a call: with the dtypes and the `training` of one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    def call(self, *, run: Callable[[], Any], training: bool = False) -> Any:
        return run()


def _surroundings(layer: Any, batch: Tensor, training: bool) -> Callable[[Callable[[], Any]], Any]:
    """A way to run a step of `layer` as it would run now, at any later time.

    From the seeds as they are now, the same masks of dropout are drawn again.
    """
    cell = layer.cell
    variables = cell.variables if isinstance(cell, keras.layers.Layer) else []
    seeds = [(v, ops.copy(ops.convert_to_tensor(v))) for v in variables if not v.trainable]
    inside = _Call(dtype=layer.dtype_policy)

    def again(run: Callable[[], Any]) -> Any:
        def with_masks() -> Any:
            # They are drawn, and forgotten again, without moving the seeds of today.
            with keras.StatelessScope(seeds), sequence_masks(cell, batch, training):
                return run()

        return inside(run=with_masks, training=training)

    return again
