"""The neuromodulated bistable recurrent cell, whose gates see all units."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.shifted import shifted

__all__ = ["NBRCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class NBRCell(StandardCell):
    """A bistable recurrent cell whose gates see the whole state.

        c_t = recurrent_activation(U_c x_t + W_c h_{t-1} + b_c)
        a_t = 1 + activation(U_a x_t + W_a h_{t-1} + b_a)
        h_t = c_t * h_{t-1} + (1 - c_t) * activation(U x_t + a_t * h_{t-1})

    `br` with matrices in the place of two vectors: units may switch each other to being
    bistable.

    Paper: Vecoven, Ernst and Drion 2021, "A bio-inspired bistable recurrent cell allows for
    long-lasting memory", arXiv:2006.05252, the nBRC.

    Differences: none in the equations. Biases are those of the authors' code, and weights start
    as there, which is as in Keras' own cells. torchrecurrent computes the same, with a third
    bias, for the candidate.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate and in `a`. Default: `"tanh"`.
        recurrent_activation: for the gate `c`. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, the blocks c, a, h;
    `recurrent_kernel` `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks c, a.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("nbr", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_kernel': (4, 8), 'bias': (8,)}
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
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The products with the inputs, of which `c` and `a` have biases."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return shifted(products, self.bias)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        keep, modulation, candidate = ops.split(projected, 3, axis=-1)
        of_keep, of_modulation = ops.split(products, 2, axis=-1)
        c = self.recurrent_activation(keep + of_keep)
        a = 1 + self.activation(modulation + of_modulation)
        h = c * h + (1 - c) * self.activation(candidate + a * h)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="update, modulation",
            also_in="torchrecurrent",
        )
