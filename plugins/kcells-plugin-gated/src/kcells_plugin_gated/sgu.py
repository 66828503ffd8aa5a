"""The simple gated unit, in which inputs multiply the state."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["SGUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class SGUCell(StandardCell):
    """An RNN with one gate, whose inputs multiply what it sees of the state.

        a_t = W_g x_t + b_g
        g_t = activation(U_g (a_t * h_{t-1}))
        z_t = recurrent_activation(W_z x_t + U_z h_{t-1} + b_z)
        h_t = (1 - z_t) * h_{t-1} + z_t * output_activation(g_t * h_{t-1})

    With softplus the state is positive from the first step on.

    Paper: Gao and Glowacka 2016, "Deep Gate Recurrent Neural Network", arXiv:1604.02910.

    Differences: none in the equations. `"hard_sigmoid"` is that of Keras 3 and of PyTorch, of
    slope 1/6; what was called so in 2016 has the slope 0.2. Weights start as in Keras' own
    cells. torchrecurrent computes the same, with second biases.

    Args:
        units: the size of the state, a positive int.
        activation: for what the products of inputs and state become. Default: `"tanh"`.
        output_activation: for the candidate. Default: `"softplus"`.
        recurrent_activation: for the gate. Default: `"hard_sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, `recurrent_kernel`
    `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks g, z.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("sgu", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 8), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        output_activation: Any = "softplus",
        recurrent_activation: Any = "hard_sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.output_activation = activations.get(output_activation)
        self.recurrent_activation = activations.get(recurrent_activation)

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        factor, gate = ops.split(projected, 2, axis=-1)
        of_product, of_gate = ops.split(self.recurrent_kernel, 2, axis=-1)
        g = self.activation(ops.matmul(factor * seen, of_product))
        candidate = self.output_activation(g * h)
        z = self.recurrent_activation(gate + ops.matmul(seen, of_gate))
        h = (1 - z) * h + z * candidate
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="update",
            also_in="torchrecurrent",
        )
