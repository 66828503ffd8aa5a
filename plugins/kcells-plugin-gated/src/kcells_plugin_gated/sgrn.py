"""The simple gated recurrent network: one gate, and one product with the inputs for all."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["SGRNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class SGRNCell(StandardCell):
    """A gated RNN whose candidate is the same product with the inputs that the gate sees.

        p_t = W x_t + b
        f_t = recurrent_activation(p_t + U h_{t-1})
        h_t = activation((1 - f_t) * p_t + f_t * h_{t-1})

    Paper: Zu and Wei 2020, "A simple gated recurrent network for detection of power quality
    disturbances", IET Generation, Transmission and Distribution 15(4), doi:10.1049/gtd2.12056.

    Differences: the equations are those of torchrecurrent and RecurrentLayers.jl, which have a
    second bias in the gate; the paper itself was not compared. Weights start as in Keras' own
    cells.

    Args:
        units: the size of the state, a positive int.
        activation: for the new state. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel` `(units, units)`
    and `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("sgrn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 4), 'bias': (4,)}
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
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        f = self.recurrent_activation(projected + products)
        h = self.activation((1 - f) * projected + f * h)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget",
            also_in="torchrecurrent",
        )
