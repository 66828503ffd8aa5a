"""The intersection RNN, or +RNN: gated through time and through depth."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.errors import StructureError
from kcells.types import Tensor

__all__ = ["IntersectionRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class IntersectionRNNCell(StandardCell):
    """The intersection RNN (+RNN): what goes on in time and in depth are two vectors.

        u_t = output_activation(W_u x_t + U_u h_{t-1} + b_u)
        c_t = activation(W_c x_t + U_c h_{t-1} + b_c)
        p_t = sigmoid(W_p x_t + U_p h_{t-1} + b_p + forget_bias)
        g_t = sigmoid(W_g x_t + U_g h_{t-1} + b_g + forget_bias)

        y_t = p_t * x_t + (1 - p_t) * u_t
        h_t = g_t * h_{t-1} + (1 - g_t) * c_t

    `y_t` is the output, and `h_t` the state. Since `y_t` is a mix with `x_t`, there have to
    be as many features as units; put a `keras.layers.Dense(units)` before the first layer.

    Paper: Collins, Sohl-Dickstein and Sussillo 2017, "Capacity and Trainability in
    Recurrent Neural Networks", arXiv:1611.09913.

    Differences: `forget_bias` is 1, as in `IntersectionRNNCell` of `tf.contrib.rnn`; with 0
    the gates have their trained biases alone. That cell can also bring the inputs to the
    size of the state. Dropout drops the inputs in the mix too.

    Args:
        units: the size of state, inputs and outputs, a positive int.
        activation: for the candidate of the state. Default: `"tanh"`.
        output_activation: for the candidate of the output. Default: `"relu"`.
        forget_bias: is added to both gates at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, units)`; states `[h]`; `h` and the output `y`
    `(batch, units)`. Weights: `kernel` and `recurrent_kernel` `(units, 4 * units)`,
    `bias` `(4 * units,)`, the blocks u, c, p, g.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, units)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("intersection_rnn", 4, return_state=True)
    >>> output, state = layer(np.ones((2, 5, 4), "float32"))
    >>> tuple(output.shape), tuple(state.shape)
    ((2, 4), (2, 4))
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        output_activation: Any = "relu",
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.output_activation = activations.get(output_activation)
        self.forget_bias = forget_bias

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        if features != self.units:
            raise StructureError(
                "IntersectionRNNCell: the output is a mix with the inputs, so there must be as"
                f" many features as units; received {features} features and units={self.units}."
                f" Put a keras.layers.Dense({self.units}) before it."
            )
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 4 * self.units))
        self.bias = self.add("bias", (4 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """The inputs, after dropout, and `W x + b`, `(..., 4 * units)`."""
        inputs = self.input_dropout.drop(inputs, training)
        products = ops.matmul(inputs, self.kernel)
        return [inputs, products if self.bias is None else products + self.bias]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `y` and `[h]`."""
        (x, of_inputs), (h,) = projected, states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        u, c, p, g = ops.split(of_inputs + products, 4, axis=-1)
        p, g = ops.sigmoid(p + self.forget_bias), ops.sigmoid(g + self.forget_bias)
        y = p * x + (1 - p) * self.output_activation(u)
        h = g * h + (1 - g) * self.activation(c)
        return y, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 3}, name="default"),
                Case({"units": 3, "forget_bias": 0.0, "use_bias": False}, name="no biases"),
            ],
            others={"forget_bias": 0.5},
            inputs=lambda at: (at.units,),
            gates="depth, time",
            also_in="torchrecurrent",
            note="F = U",
            learning=Learning(encoded=True),
        )
