"""The recurrent additive network: a gated sum of what is linear in the inputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.shifted import shifted

__all__ = ["RANCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class RANCell(StandardCell):
    """An LSTM whose memory is a gated sum of products with the inputs, and nothing else.

        h_{t-1} = activation(c_{t-1})
        i_t = recurrent_activation(W_i x_t + U_i h_{t-1} + b_i)
        f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + b_f)

        c_t = f_t * c_{t-1} + i_t * (W_c x_t)
        h_t = activation(c_t)

    The state enters the gates alone: every memory is a weighted sum of the inputs of all steps.

    Paper: Lee, Levy and Zettlemoyer 2017, "Recurrent Additive Networks", arXiv:1705.07393.

    Differences: none in the equations; the paper has `activation="linear"` too. The state is `c`
    alone, from which `h` follows. Weights start as in Keras' own cells. torchrecurrent computes
    the same, with second biases, and keeps both.

    Args:
        units: the size of the state, a positive int.
        activation: for the memory where it is read out. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[c]`; `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, the blocks i, f, c;
    `recurrent_kernel` `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks i, f.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("ran", 4)
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
        """The products with the inputs, of which those for the gates have biases."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return shifted(products, self.bias)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[c]`."""
        (c,) = states
        seen = self.dropped(self.activation(c), training)
        gates, candidate = ops.split(projected, [2 * self.units], axis=-1)
        gates = self.recurrent_activation(gates + ops.matmul(seen, self.recurrent_kernel))
        i, f = ops.split(gates, 2, axis=-1)
        c = f * c + i * candidate
        return self.activation(c), [c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="input, forget",
            also_in="torchrecurrent",
        )
