"""Cells that are linear in their state, in Keras and in NumPy.

Each says its coefficients alone; `numpy_step` is the same step for one sample, written from
the equations, on dicts as `numpy_loop` takes them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

import kcells

FEATURES = 3


class _Linear(kcells.Cell):
    """Creates the weights of `shapes`, in their order."""

    shapes: Any = None

    def build(self, input_shape: Any) -> None:
        for k, (name, shape) in enumerate(self.shapes.items()):
            start = keras.initializers.RandomNormal(stddev=0.6, seed=k)
            setattr(self, name, self.add_weight(shape=shape, name=name, initializer=start))

    def numpy_weights(self) -> dict[str, np.ndarray]:
        return {w.name: ops.convert_to_numpy(w).astype("float64") for w in self.weights}


@keras.saving.register_keras_serializable(package="kcells-tests")
class Gated(_Linear):
    """`h = sigmoid(x A) h + x B`; one state, which is the output; may drop inputs."""

    state_size = output_size = 4
    shapes = {"w_a": (FEATURES, 4), "w_b": (FEATURES, 4)}  # noqa: RUF012

    def __init__(self, dropout: float = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drops = kcells.VariationalDropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.drops.build((None, FEATURES))

    def project_inputs(self, inputs, training=False):
        inputs = self.drops.drop(inputs, training)
        return {"a": ops.sigmoid(ops.matmul(inputs, self.w_a)), "b": ops.matmul(inputs, self.w_b)}

    def linear_recurrence(self, projected):
        return kcells.LinearRecurrence([projected["a"]], [projected["b"]], lambda h, _: h[0])

    def numpy_step(self):
        w = self.numpy_weights()

        def step(inputs, states):
            keep = 1 / (1 + np.exp(-(inputs["x"] @ w["w_a"])))
            h = keep * states["h"] + inputs["x"] @ w["w_b"]
            return {"y": h}, {"h": h}

        return step

    @staticmethod
    def random_states(rng, batch):
        return {"h": rng.normal(size=(batch, 4))}

    @staticmethod
    def packed(states):
        return [states["h"]]


class Structured(_Linear):
    """A matrix and a vector as state, two outputs that are none of them and read the inputs.

    The coefficient of the matrix is one number a row, that of the vector one for all.
    """

    state_size = {"matrix": (2, 3), "vector": 5}  # noqa: RUF012
    shapes = {  # noqa: RUF012
        "w_gate": (FEATURES, 2),
        "w_frame": (FEATURES, 6),
        "w_line": (FEATURES, 5),
        "w_out": (FEATURES, 5),
        "decay": (),
    }

    def project_inputs(self, inputs, training=False):
        frame = ops.matmul(inputs, self.w_frame)
        return {
            "gate": ops.expand_dims(ops.sigmoid(ops.matmul(inputs, self.w_gate)), -1),
            "frame": ops.reshape(frame, (*ops.shape(frame)[:-1], 2, 3)),
            "line": ops.matmul(inputs, self.w_line),
            "out": ops.tanh(ops.matmul(inputs, self.w_out)),
        }

    def linear_recurrence(self, projected):
        def read_out(states, projected):
            total = ops.sum(states["matrix"], axis=(-1, -2))
            return {
                "line": ops.tanh(states["vector"]) * projected["out"] + total[..., None] + 1.0,
                "picture": states["matrix"] * projected["gate"],
            }

        decay = ops.convert_to_tensor(self.decay)
        return kcells.LinearRecurrence(
            {"matrix": projected["gate"], "vector": decay},
            {"matrix": projected["frame"], "vector": projected["line"]},
            read_out,
        )

    def numpy_step(self):
        w = self.numpy_weights()

        def step(inputs, states):
            x = inputs["x"]
            gate = (1 / (1 + np.exp(-(x @ w["w_gate"]))))[:, None]
            matrix = states["matrix"] * gate + (x @ w["w_frame"]).reshape(2, 3)
            vector = states["vector"] * w["decay"] + x @ w["w_line"]
            line = np.tanh(vector) * np.tanh(x @ w["w_out"]) + matrix.sum() + 1.0
            return {"line": line, "picture": matrix * gate}, {"matrix": matrix, "vector": vector}

        return step

    @staticmethod
    def random_states(rng, batch):
        return {"matrix": rng.normal(size=(batch, 2, 3)), "vector": rng.normal(size=(batch, 5))}

    @staticmethod
    def packed(states):
        return states


class Constant(_Linear):
    """`h = 0.8 h + x B`, the coefficient a plain number; two features for each of the outputs."""

    state_size = [4]  # noqa: RUF012
    shapes = {"w_b": (FEATURES, 4), "w_c": (4, 2)}  # noqa: RUF012

    def project_inputs(self, inputs, training=False):
        return ops.matmul(inputs, self.w_b)

    def linear_recurrence(self, projected):
        def read_out(states, projected):
            return ops.matmul(states[0] * projected, self.w_c)

        return kcells.LinearRecurrence([0.8], [projected], read_out)

    def numpy_step(self):
        w = self.numpy_weights()

        def step(inputs, states):
            driven = inputs["x"] @ w["w_b"]
            h = 0.8 * states["h"] + driven
            return {"y": (h * driven) @ w["w_c"]}, {"h": h}

        return step

    @staticmethod
    def random_states(rng, batch):
        return {"h": rng.normal(size=(batch, 4))}

    @staticmethod
    def packed(states):
        return [states["h"]]


class Turning(_Linear):
    """Complex numbers: all three are turned by an angle that comes from the inputs."""

    state_size = [(3, 2)]  # noqa: RUF012  # a bare tuple would mean two states
    shapes = {"w_angle": (FEATURES, 1), "w_b": (FEATURES, 6), "w_out": (FEATURES, 3)}  # noqa: RUF012

    def project_inputs(self, inputs, training=False):
        angle = ops.matmul(inputs, self.w_angle)
        driven = ops.matmul(inputs, self.w_b)
        return [
            0.9 * ops.stack([ops.cos(angle), ops.sin(angle)], axis=-1),
            ops.stack([driven[..., :3], driven[..., 3:]], axis=-1),
            ops.matmul(inputs, self.w_out),
        ]

    def linear_recurrence(self, projected):
        def read_out(states, projected):
            (h,) = states
            return h[..., 0] * projected[2] - 2.0 * h[..., 1]

        return kcells.LinearRecurrence([projected[0]], [projected[1]], read_out, "complex")

    def numpy_step(self):
        w = self.numpy_weights()

        def step(inputs, states):
            x = inputs["x"]
            driven = x @ w["w_b"]
            h = states["h"][:, 0] + 1j * states["h"][:, 1]
            h = 0.9 * np.exp(1j * (x @ w["w_angle"])) * h + driven[:3] + 1j * driven[3:]
            y = h.real * (x @ w["w_out"]) - 2.0 * h.imag
            return {"y": y}, {"h": np.stack([h.real, h.imag], axis=-1)}

        return step

    @staticmethod
    def random_states(rng, batch):
        return {"h": rng.normal(size=(batch, 3, 2))}

    @staticmethod
    def packed(states):
        return [states["h"]]


KINDS = {"gated": Gated, "structured": Structured, "constant": Constant, "turning": Turning}


class Bare(kcells.Cell):
    """One state, and no lists around it."""

    state_size = output_size = 4

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 8), initializer="orthogonal")

    def project_inputs(self, inputs, training=False):
        return ops.split(ops.matmul(inputs, self.kernel), 2, axis=-1)

    def linear_recurrence(self, projected):
        a, b = projected
        return kcells.LinearRecurrence(ops.sigmoid(a), b, lambda h, p: h[0] + p[1])


def built(cell):
    """A cell, built for the inputs of this module's cells."""
    cell.build((None, FEATURES))
    cell.built = True
    return cell


def sequences(rng, dtype="float32", batch=3, time=6):
    """Inputs for this module's cells."""
    return rng.normal(size=(batch, time, FEATURES)).astype(dtype)
