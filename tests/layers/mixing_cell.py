"""A cell that uses everything there is, in Keras and in NumPy.

Two inputs, two states and two outputs of different ranks and sizes; every state feeds
on every input and on the other state, and no output is a state. `layout` says in which
containers they come.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

VECTOR, ROWS, COLUMNS = 3, 2, 4
"""Features of the vector input; rows and columns of the matrix input and state."""
UNITS, WIDTH = 5, 6
"""Size of the vector state; size of the vector output."""

LAYOUTS = ("dict", "list", "tuple", "nested")


def pack(layout: str, vector: Any, matrix: Any) -> Any:
    """Two things in the containers of a layout."""
    return {
        "dict": lambda: {"vector": vector, "matrix": matrix},
        "list": lambda: [vector, matrix],
        "tuple": lambda: (vector, matrix),
        "nested": lambda: {"deep": [{"vector": vector}], "matrix": (matrix,)},
    }[layout]()


def unpack(layout: str, structure: Any) -> tuple[Any, Any]:
    """The two things that `pack` has put together."""
    if layout == "dict":
        return structure["vector"], structure["matrix"]
    if layout == "nested":
        return structure["deep"][0]["vector"], structure["matrix"][0]
    first, second = structure
    return first, second


@keras.saving.register_keras_serializable(package="kcells-tests")
class MixingCell(keras.layers.Layer):
    """See the module; a plain Keras layer that knows nothing of kcells."""

    def __init__(self, layout: str = "dict", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layout = layout
        self.state_size = pack(layout, UNITS, (ROWS, COLUMNS))

    def build(self, input_shape: Any) -> None:
        shapes = {
            "w_in": (VECTOR, UNITS),
            "w_rec": (UNITS, UNITS),
            "w_mat": (ROWS * COLUMNS, UNITS),
            "w_row": (UNITS, ROWS),
            "w_out": (UNITS, WIDTH),
        }
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(shape=shape, name=name))

    def call(self, inputs: Any, states: Any) -> Any:
        x, frame = unpack(self.layout, inputs)
        h, memory = unpack(self.layout, states)
        flat = ops.reshape(memory, (-1, ROWS * COLUMNS))
        h = ops.tanh(
            ops.matmul(x, self.w_in) + ops.matmul(h, self.w_rec) + ops.matmul(flat, self.w_mat)
        )
        gate = ops.sigmoid(ops.matmul(h, self.w_row))[:, :, None]
        memory = gate * memory + (1 - gate) * frame
        out = ops.matmul(h, self.w_out) + 1.0
        picture = memory * 2.0 + ops.mean(h, axis=-1)[:, None, None]
        return pack(self.layout, out, picture), pack(self.layout, h, memory)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layout": self.layout}


def numpy_step(weights: list[np.ndarray]) -> Any:
    """The same step for one sample, on dicts, from the weights in their order."""
    w_in, w_rec, w_mat, w_row, w_out = weights

    def step(inputs: dict[str, Any], states: dict[str, Any]) -> Any:
        h = np.tanh(
            inputs["vector"] @ w_in + states["vector"] @ w_rec + states["matrix"].ravel() @ w_mat
        )
        gate = 1 / (1 + np.exp(-(h @ w_row)))[:, None]
        memory = gate * states["matrix"] + (1 - gate) * inputs["matrix"]
        return (
            {"vector": h @ w_out + 1.0, "matrix": 2.0 * memory + h.mean()},
            {"vector": h, "matrix": memory},
        )

    return step


def random_inputs(rng: np.random.Generator, batch: int, time: int) -> dict[str, np.ndarray]:
    return {
        "vector": rng.normal(size=(batch, time, VECTOR)),
        "matrix": rng.normal(size=(batch, time, ROWS, COLUMNS)),
    }


def random_states(rng: np.random.Generator, batch: int) -> dict[str, np.ndarray]:
    return {
        "vector": rng.normal(size=(batch, UNITS)),
        "matrix": rng.normal(size=(batch, ROWS, COLUMNS)),
    }
