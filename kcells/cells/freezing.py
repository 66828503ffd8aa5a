"""`trainable=False`, for what is inside of a layer."""

from __future__ import annotations

from typing import Any

import keras

from kcells._keras_private import sublayers

__all__ = ["freeze_inside"]


def freeze_inside(layer: Any) -> None:
    """Freezes what is inside of each frozen layer in `layer`, at any depth.

    Setting `trainable` does so. The argument of a constructor does not, nor does it
    for layers that are made in `build`: they were not there yet.
    """
    for part in sublayers(layer):
        if isinstance(part, keras.layers.Layer) and not part.trainable:
            # Not by `part.trainable = False`: on TensorFlow a value that is there is not set again.
            type(part).trainable.fset(part, False)
