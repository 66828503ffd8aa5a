"""The update gate RNN: a simple recurrent network that may keep its state."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._declaring import no_state_dropout

__all__ = ["UGRNNCell"]

_OPEN = 100.0
"""The sigmoid of this is one, to the last digit of a float64."""


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class UGRNNCell(StandardCell):
    """The update gate RNN: one gate says what of the state is kept.

        c_t = activation(W_c x_t + U_c h_{t-1} + b_c)
        g_t = sigmoid(W_g x_t + U_g h_{t-1} + b_g + forget_bias)

        h_t = g_t * h_{t-1} + (1 - g_t) * c_t

    Paper: Collins, Sohl-Dickstein and Sussillo 2017, "Capacity and Trainability in
    Recurrent Neural Networks", arXiv:1611.09913.

    Differences: `forget_bias` is 1, as in `UGRNNCell` of `tf.contrib.rnn`; with 0 the gate
    has its trained bias alone. The cell is a GRU whose reset gate is always open, and so
    runs on the kernels of one.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        forget_bias: is added to the gate at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, `recurrent_kernel`
    `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks c, g.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("ugrnn", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 8), 'bias': (8,)}
    """

    def __init__(
        self, units: int, activation: Any = "tanh", forget_bias: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.forget_bias = forget_bias

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        c, g = ops.split(projected + products, 2, axis=-1)
        gate = ops.sigmoid(g + self.forget_bias)
        h = gate * h + (1 - gate) * self.activation(c)
        return h, [h]

    def equivalent(self) -> Equivalence:
        """`keras.layers.GRU` with an open reset gate."""
        arguments = {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "dropout": self.dropout,
        }
        return Equivalence("gru", [no_state_dropout(self)], arguments, self._keras_weights)

    def _keras_weights(self) -> list[Tensor]:
        dtype = self.kernel.dtype
        zeros = ops.zeros((2 * self.units,), dtype=dtype)
        bias = zeros if self.bias is None else ops.convert_to_tensor(self.bias)
        c, g = ops.split(bias, 2)
        of_inputs = ops.concatenate([g + self.forget_bias, ops.full_like(c, _OPEN), c])
        bias = ops.stack([of_inputs, ops.zeros_like(of_inputs)])
        return [_with_reset_gate(self.kernel), _with_reset_gate(self.recurrent_kernel), bias]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "forget_bias": 0.0, "use_bias": False}, name="no biases"),
            ],
            others={"forget_bias": 0.5},
            gates="update",
            also_in="torchrecurrent",
        )


def _with_reset_gate(matrix: Any) -> Tensor:
    """The blocks z, r, g of a GRU from the blocks c, g; nothing moves the reset gate."""
    c, g = ops.split(ops.convert_to_tensor(matrix), 2, axis=-1)
    return ops.concatenate([g, ops.zeros_like(c), c], axis=-1)
