"""Cells that keep every law; each broken cell is one of these with one thing changed.

Together they claim everything that there is a law about.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

import kcells

__all__ = ["SOUND", "Curved", "Leaky", "Memory", "Pair", "registered"]

registered = keras.saving.register_keras_serializable(package="kcells-tests")


@registered
class Leaky(kcells.Cell):
    """A leaky sum; linear in its state, and a simple RNN with a diagonal matrix.

        h_t = decay * h_{t-1} + x_t kernel + bias

    Source: written for these tests in 2026.

    Args:
        units: the size of state and output.
        dropout: the share of inputs that are dropped.
        seed: of the dropout.
    """

    activation = "linear"

    def __init__(
        self, units: int, dropout: float = 0.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.dropout, self.seed = units, dropout, seed
        self.state_size = self.output_size = units
        self.drops = kcells.VariationalDropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        uniform = keras.initializers.RandomUniform(0.3, 0.8)
        self.decay = self.add_weight(shape=(self.units,), initializer=uniform, name="decay")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.drops.build(input_shape)

    def project_inputs(self, inputs, training=False):
        return ops.matmul(self.drops.drop(inputs, training), self.kernel) + self.bias

    def linear_recurrence(self, projected):
        decay = ops.convert_to_tensor(self.decay)
        return kcells.LinearRecurrence([decay], [projected], lambda states, _: states[0])

    def equivalent(self):
        no_dropout = kcells.Reason("inputs are not dropped", not self.dropout)
        arguments = {"units": self.units, "activation": self.activation}
        return kcells.Equivalence("simple_rnn", [no_dropout], arguments, self.builtin_weights)

    def builtin_weights(self):
        return [self.kernel, ops.diag(self.decay), self.bias]

    def get_config(self):
        own = {"units": self.units, "dropout": self.dropout, "seed": self.seed}
        return {**super().get_config(), **own}


@registered
class Curved(Leaky):
    """The same, and not linear.

        h_t = tanh(decay * h_{t-1} + x_t kernel + bias)

    Source: written for these tests in 2026.

    Args:
        units, dropout, seed: as for `Leaky`.
    """

    activation = "tanh"

    def step(self, projected, states, training=False):
        h = ops.tanh(projected + self.decay * states[0])
        return h, [h]


@registered
class Memory(kcells.Cell):
    """An LSTM with its gates in an order of their own, and the memory as first state.

        c_t = f * c_{t-1} + i * tanh(g)
        h_t = o * tanh(c_t)

    Source: Hochreiter and Schmidhuber 1997.

    Args:
        units: the size of both states.
    """

    builtin_states = (1, 0)

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.output_size = units, units
        self.state_size = [units, units]

    def build(self, input_shape):
        shapes = {
            "kernel": (input_shape[-1], 4 * self.units),
            "recurrent_kernel": (self.units, 4 * self.units),
            "bias": (4 * self.units,),
        }
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(shape=shape, name=name))

    def call(self, inputs, states):
        c, h = states
        gates = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias
        o, f, i, g = ops.split(gates, 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [c, h]

    def equivalent(self):
        arguments = {"units": self.units}
        return kcells.Equivalence(
            "lstm", [], arguments, self.builtin_weights, states=self.builtin_states
        )

    def builtin_weights(self):
        return [self.in_builtin_order(w) for w in (self.kernel, self.recurrent_kernel, self.bias)]

    def in_builtin_order(self, weight):
        """The blocks of a weight in the order i, f, g, o."""
        o, f, i, g = ops.split(ops.convert_to_tensor(weight), 4, axis=-1)
        return ops.concatenate([i, f, g, o], axis=-1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@registered
class Pair(keras.layers.Layer):
    """A plain layer; two states of unequal sizes, and two outputs that are none of them.

        slow_t = (slow_{t-1} + tanh(x_t kernel)) / 2
        frame_t = tanh(frame_{t-1} + slow_t feed)

    Source: written for these tests in 2026.

    Args:
        units: the size of the first state.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units, (2, 3)]
        self.output_size = {"line": units, "total": 1}

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.feed = self.add_weight(shape=(self.units, 6), name="feed")

    def call(self, inputs, states):
        slow, frame = states
        slow = (slow + ops.tanh(ops.matmul(inputs, self.kernel))) / 2
        frame = ops.tanh(frame + ops.reshape(ops.matmul(slow, self.feed), (-1, 2, 3)))
        total = ops.sum(frame, axis=(1, 2))[:, None]
        return {"line": slow * total, "total": total + 1.0}, [slow, frame]

    def get_initial_state(self, batch_size=None):
        return [
            ops.zeros((batch_size, self.units), dtype=self.compute_dtype),
            ops.ones((batch_size, 2, 3), dtype=self.compute_dtype),
        ]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


SOUND = (Leaky, Curved, Memory, Pair)
