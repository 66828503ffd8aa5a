"""Cells that the golden files name; what they compute must never change."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["CUSTOM_OBJECTS", "GoldenCell"]


class GoldenCell(keras.layers.Layer):
    """Dicts for inputs, states and outputs; a state that is a matrix; no output is a state.

    drive  = pen W + force V
    slow'  = rate slow + (1 - rate) drive
    memory' = tanh(memory + slow' (x) (1, -1) / 2)
    outputs = {"level": slow' ** 2, "pair": memory' + 1}
    """

    def __init__(self, units: int, rate: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.rate = rate
        self.state_size = {"slow": units, "memory": (units, 2)}
        self.output_size = {"level": units, "pair": (units, 2)}

    def build(self, input_shape: Any) -> None:
        pen, force = input_shape["pen"], input_shape["force"]
        self.pen_kernel = self.add_weight(shape=(pen[-1], self.units), name="pen_kernel")
        self.force_kernel = self.add_weight(shape=(force[-1], self.units), name="force_kernel")

    def call(self, inputs: Any, states: Any) -> tuple[Any, Any]:
        drive = ops.matmul(inputs["pen"], self.pen_kernel)
        drive = drive + ops.matmul(inputs["force"], self.force_kernel)
        slow = self.rate * states["slow"] + (1 - self.rate) * drive
        memory = ops.tanh(states["memory"] + 0.5 * ops.stack([slow, -slow], axis=-1))
        return {"level": slow * slow, "pair": memory + 1.0}, {"slow": slow, "memory": memory}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "rate": self.rate}


CUSTOM_OBJECTS = {"GoldenCell": GoldenCell}
