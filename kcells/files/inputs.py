"""What a model takes."""

from __future__ import annotations

import keras

from kcells.types import Structure

__all__ = ["inputs_of"]


def inputs_of(model: keras.Model) -> Structure:
    """The symbolic inputs of a functional or sequential model, in their structure."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
