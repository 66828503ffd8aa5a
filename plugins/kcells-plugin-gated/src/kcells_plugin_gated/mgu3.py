"""The third of the simplified minimal gated units: its gate is a bias alone."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MGU3Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MGU3Cell(StandardCell):
    """A minimal gated unit whose gate is the same at every step.

        f = recurrent_activation(b_f)
        g_t = activation(W x_t + U_h (f * h_{t-1}) + b_h)
        h_t = (1 - f) * h_{t-1} + f * g_t

    What a gate does is left to each unit's own time constant. Without biases it is
    `recurrent_activation(0)`.

    Paper: Heck and Salem 2017, "Simplified Minimal Gated Unit Variations for Recurrent Neural
    Networks", arXiv:1701.03452, the MGU3.

    Differences: none in the equations. Weights start as in Keras' own cells.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel` `(units, units)`
    and `bias` `(2 * units,)`, the blocks f, h.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mgu3", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 4), 'bias': (8,)}
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
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x`, with the bias of the candidate."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return products if self.bias is None else products + self.bias[self.units :]

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        gate = ops.zeros_like(h) if self.bias is None else self.bias[: self.units]
        f = self.recurrent_activation(gate)
        g = self.activation(projected + ops.matmul(f * seen, self.recurrent_kernel))
        h = (1 - f) * h + f * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget, which resets too",
            also_in="",
        )
