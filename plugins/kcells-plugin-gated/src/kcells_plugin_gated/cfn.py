"""The chaos-free network: a gated RNN whose state dies away without inputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.initial import raised
from kcells_plugin_gated.shifted import shifted

__all__ = ["CFNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class CFNCell(StandardCell):
    """A chaos-free network: no matrix mixes the state, except in the gates.

        f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + b_f)
        i_t = recurrent_activation(W_i x_t + U_i h_{t-1} + b_i)
        h_t = f_t * activation(h_{t-1}) + i_t * activation(W x_t)

    Without inputs the state goes to zero, from wherever it starts: there is no chaos, as there
    can be in an LSTM or a GRU.

    Paper: Laurent and von Brecht 2016, "A recurrent neural network without chaos",
    arXiv:1612.06212, where the gates are called theta and eta.

    Differences: none in the equations. Weights start as in Keras' own cells, and the biases of
    the gates at one and minus one, so that more is kept than taken in; torchrecurrent and
    RecurrentLayers.jl start them at zero, and have a bias in the candidate too.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate and the old state. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        forget_bias: what is added to the biases of the forget gate at the start, a float.
            Default: 1.
        input_bias: the same for the input gate. Default: -1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, the blocks f, i, h;
    `recurrent_kernel` `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks f, i.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("cfn", 4)
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
        forget_bias: float = 1.0,
        input_bias: float = -1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.forget_bias = forget_bias
        self.input_bias = input_bias

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        start = raised(self.bias_initializer, self.forget_bias, self.input_bias)
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,), initializer=start)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """The products of both gates with the inputs, and the candidate."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        f, i, candidate = ops.split(shifted(products, self.bias), 3, axis=-1)
        return [f, i, self.activation(candidate)]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        of_f, of_i = ops.split(products, 2, axis=-1)
        f, i, candidate = projected
        h = self.recurrent_activation(f + of_f) * self.activation(h)
        h = h + self.recurrent_activation(i + of_i) * candidate
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget, input",
            also_in="torchrecurrent",
            others={"forget_bias": 0.5, "input_bias": 0.5},
        )
