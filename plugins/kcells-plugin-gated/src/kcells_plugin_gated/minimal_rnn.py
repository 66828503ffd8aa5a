"""The minimal RNN: inputs become states before they meet one."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MinimalRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MinimalRNNCell(StandardCell):
    """A gated mean of what the inputs are mapped to, on which alone the state depends.

        z_t = activation(W x_t + b_z)
        u_t = recurrent_activation(U_h h_{t-1} + U_z z_t + b_u)
        h_t = u_t * h_{t-1} + (1 - u_t) * z_t

    The state is a weighted mean of `z`: it stays in the space that the inputs are mapped to.

    Paper: Chen 2017, "MinimalRNN: Toward More Interpretable and Trainable Recurrent Neural
    Networks", arXiv:1711.06788.

    Differences: none in the equations. The paper leaves open what maps the inputs, and takes
    this layer in its experiments. Weights start as in Keras' own cells. torchrecurrent computes
    the same.

    Args:
        units: the size of the state, a positive int.
        activation: for what the inputs are mapped to. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `kernel_gate` `(units, units)`,
    which is `U_z`; `recurrent_kernel` `(units, units)`; `bias` `(2 * units,)`, the blocks z, u.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("minimal_rnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'kernel_gate': (4, 4), 'recurrent_kernel': (4, 4), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)

    def add_weights(self, features: int) -> None:
        """Makes the four weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.kernel_gate = self.add("kernel_gate", (self.units, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`z`, and what the gate sees of it."""
        of_z, of_u = (0, 0) if self.bias is None else ops.split(self.bias, 2)
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        z = self.activation(products + of_z)
        return [z, ops.matmul(z, self.kernel_gate) + of_u]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        z, gate = projected
        seen = self.dropped(h, training)
        u = self.recurrent_activation(gate + ops.matmul(seen, self.recurrent_kernel))
        h = u * h + (1 - u) * z
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="update",
            also_in="torchrecurrent",
        )
