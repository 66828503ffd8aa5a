"""The light recurrent unit: a GRU whose candidate does not see the state."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.shifted import shifted

__all__ = ["LightRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class LightRUCell(StandardCell):
    """A GRU with one gate, whose candidate sees the inputs alone.

        g_t = activation(W_h x_t)
        f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + b_f)
        h_t = (1 - f_t) * h_{t-1} + f_t * g_t

    Paper: Ye, Zhang, Liu, Li, Chang and Zheng 2024, "Light Recurrent Unit: Towards an
    Interpretable Recurrent Neural Network for Modeling Long-Range Dependency", Electronics
    13(16), 3204.

    Differences: the paper calls the unit LRU, which here and elsewhere is the linear recurrent
    unit. The equations are those that RecurrentLayers.jl gives; the paper itself was not
    compared, and its Stack Recurrent Cell, which changes the activation, is not here. Weights
    start as in Keras' own cells. torchrecurrent has a bias in the candidate, and a second one in
    the gate.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, the blocks f, h;
    `recurrent_kernel` `(units, units)` and `bias` `(units,)` of the gate.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("light_ru", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 4), 'bias': (4,)}
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
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """The product of the gate with the inputs, and the candidate."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        gate, candidate = ops.split(shifted(products, self.bias), 2, axis=-1)
        return [gate, self.activation(candidate)]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        gate, candidate = projected
        seen = self.dropped(h, training)
        f = self.recurrent_activation(gate + ops.matmul(seen, self.recurrent_kernel))
        h = (1 - f) * h + f * candidate
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="update",
            also_in="torchrecurrent",
        )
