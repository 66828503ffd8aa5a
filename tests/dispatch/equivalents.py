"""Cells that are an LSTM or GRU in other clothes, or only almost."""

import keras
from keras import ops

import kcells
from kcells import Equivalence, Reason

__all__ = [
    "BasicLSTMCell",
    "CoupledLSTMCell",
    "LyingGRUCell",
    "LyingLSTMCell",
    "PeepholeLSTMCell",
    "ResetFirstGRUCell",
]


class _Cell(kcells.Cell):
    """What all have in common: units, and weights with larger numbers than usual."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.output_size = units

    def weight(self, name, *shape):
        return self.add_weight(shape=shape, name=name, initializer="glorot_uniform")

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="kcells-tests")
class BasicLSTMCell(_Cell):
    """The LSTM of tf.contrib.rnn: one matrix for inputs and state, gates i, j, f, o, a
    number added to the forget gate at run time, state (c, h)."""

    def __init__(self, units, forget_bias=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.forget_bias = forget_bias
        self.state_size = [units, units]

    def build(self, input_shape):
        self.features = input_shape[-1]
        self.kernel = self.weight("kernel", self.features + self.units, 4 * self.units)
        self.bias = self.weight("bias", 4 * self.units)

    def call(self, inputs, states):
        c, h = states
        gates = ops.matmul(ops.concatenate([inputs, h], axis=-1), self.kernel) + self.bias
        i, j, f, o = ops.split(gates, 4, axis=-1)
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * ops.tanh(j)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [c, h]

    _order = (0, 2, 1, 3)

    def equivalent(self):
        def weights():
            kernel = _reordered(self.kernel, self._order)
            i, j, f, o = ops.split(ops.convert_to_tensor(self.bias), 4)
            bias = ops.concatenate([i, f + self.forget_bias, j, o])
            return kernel[: self.features], kernel[self.features :], bias

        return Equivalence("lstm", (), {"units": self.units}, weights, states=(1, 0))

    def get_config(self):
        return {**super().get_config(), "forget_bias": self.forget_bias}


@keras.saving.register_keras_serializable(package="kcells-tests")
class LyingLSTMCell(BasicLSTMCell):
    """Says that its gates are in the order of Keras."""

    _order = (0, 1, 2, 3)


@keras.saving.register_keras_serializable(package="kcells-tests")
class CoupledLSTMCell(_Cell):
    """The forget gate is one minus the input gate: no LSTM, whatever the arguments."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size = [units, units]

    def build(self, input_shape):
        self.kernel = self.weight("kernel", input_shape[-1] + self.units, 3 * self.units)

    def call(self, inputs, states):
        h, c = states
        gates = ops.matmul(ops.concatenate([inputs, h], axis=-1), self.kernel)
        i, g, o = ops.split(gates, 3, axis=-1)
        i = ops.sigmoid(i)
        c = (1 - i) * c + i * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [h, c]

    def equivalent(self):
        return Equivalence(
            None, [Reason("the gates are independent", False, "the forget gate is 1 - i")]
        )


@keras.saving.register_keras_serializable(package="kcells-tests")
class ResetFirstGRUCell(_Cell):
    """A GRU with the gates r, z, n, in matrices that are transposed, as PyTorch has them."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size = units

    def build(self, input_shape):
        self.weight_ih = self.weight("weight_ih", 3 * self.units, input_shape[-1])
        self.weight_hh = self.weight("weight_hh", 3 * self.units, self.units)
        self.bias_ih = self.weight("bias_ih", 3 * self.units)
        self.bias_hh = self.weight("bias_hh", 3 * self.units)

    def project_inputs(self, inputs, training=False):
        return ops.matmul(inputs, ops.transpose(self.weight_ih)) + self.bias_ih

    def step(self, projected, states, training=False):
        (h,) = states
        products = ops.matmul(h, ops.transpose(self.weight_hh)) + self.bias_hh
        x_r, x_z, x_n = ops.split(projected, 3, axis=-1)
        h_r, h_z, h_n = ops.split(products, 3, axis=-1)
        n = ops.tanh(x_n + ops.sigmoid(x_r + h_r) * h_n)
        z = ops.sigmoid(x_z + h_z)
        h = (1 - z) * n + z * h
        return h, [h]

    _order = (1, 0, 2)

    def equivalent(self):
        def weights():
            order = self._order
            matrices = [
                _reordered(ops.transpose(w), order) for w in (self.weight_ih, self.weight_hh)
            ]
            shifts = [_reordered(b, order) for b in (self.bias_ih, self.bias_hh)]
            return *matrices, ops.stack(shifts)

        return Equivalence("gru", (), {"units": self.units, "reset_after": True}, weights)


@keras.saving.register_keras_serializable(package="kcells-tests")
class LyingGRUCell(ResetFirstGRUCell):
    """Says that its gates are in the order of Keras."""

    _order = (0, 1, 2)


@keras.saving.register_keras_serializable(package="kcells-tests")
class PeepholeLSTMCell(_Cell):
    """Sak 2014: peepholes and a projection of the output, both optional."""

    def __init__(self, units, peepholes=False, projection=None, **kwargs):
        super().__init__(units, **kwargs)
        self.peepholes, self.projection = peepholes, projection
        self.output_size = projection or units
        self.state_size = [self.output_size, units]

    def build(self, input_shape):
        self.kernel = self.weight("kernel", input_shape[-1], 4 * self.units)
        self.recurrent_kernel = self.weight("recurrent_kernel", self.output_size, 4 * self.units)
        self.bias = self.weight("bias", 4 * self.units)
        if self.peepholes:
            self.peephole_kernel = self.weight("peephole_kernel", 3, self.units)
        if self.projection:
            self.projection_kernel = self.weight("projection_kernel", self.units, self.projection)

    def project_inputs(self, inputs, training=False):
        return ops.matmul(inputs, self.kernel) + self.bias

    def step(self, projected, states, training=False):
        h, c = states
        i, f, g, o = ops.split(projected + ops.matmul(h, self.recurrent_kernel), 4, axis=-1)
        seen = self.peephole_kernel if self.peepholes else (0.0, 0.0, 0.0)
        i, f = ops.sigmoid(i + seen[0] * c), ops.sigmoid(f + seen[1] * c)
        c = f * c + i * ops.tanh(g)
        h = ops.sigmoid(o + seen[2] * c) * ops.tanh(c)
        if self.projection:
            h = ops.matmul(h, self.projection_kernel)
        return h, [h, c]

    def equivalent(self):
        return Equivalence(
            "lstm",
            [
                Reason("there are no peepholes", not self.peepholes, f"{self.peepholes}"),
                Reason("there is no projection", not self.projection, f"{self.projection}"),
            ],
            {
                "units": self.units,
                "kernel_initializer": "glorot_uniform",
                "recurrent_initializer": "glorot_uniform",
                "bias_initializer": "glorot_uniform",
                "unit_forget_bias": False,
            },
        )

    def get_config(self):
        config = {"peepholes": self.peepholes, "projection": self.projection}
        return {**super().get_config(), **config}


def _reordered(weight, order):
    blocks = ops.split(ops.convert_to_tensor(weight), len(order), axis=-1)
    return ops.concatenate([blocks[k] for k in order], axis=-1)
