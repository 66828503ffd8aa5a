"""The layer-normalized vanilla RNN: one norm over the sum of both products."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_layernorm.norm import checked_epsilon, standardized

__all__ = ["LayerNormRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-layernorm")
class LayerNormRNNCell(StandardCell):
    """A vanilla RNN in which the sum of both products is layer-normalized.

        a_t = W x_t + U h_{t-1}
        h_t = activation(gamma * (a_t - mean(a_t)) / sqrt(variance(a_t) + epsilon) + b)

    Mean and variance are those of one sample at one step, over its `units`. The bias is the
    shift of the norm: before it, it would lose its mean and be scaled.

    Paper: Ba, Kiros and Hinton 2016, "Layer Normalization", arXiv:1607.06450, equation 4.

    Differences: `epsilon`, which the equation leaves out, is 1e-5, as in the authors' code.
    `LayerNormSimpleRNNCell` of TensorFlow Addons computes the same.

    Args:
        units: the size of the state, a positive int.
        activation: Default: `"tanh"`.
        epsilon: added to the variance, a positive float. Default: 1e-5.
        gamma_initializer: for `gamma`. Default: `"ones"`, which is the paper's.
        gamma_regularizer, gamma_constraint: for `gamma`. Default: None.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel`
    `(units, units)`, `gamma` and `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `epsilon` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_layernorm import LayerNormRNNCell
    >>> layer = kcells.RNN(LayerNormRNNCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 4), 'gamma': (4,), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        epsilon: float = 1e-5,
        gamma_initializer: Any = "ones",
        gamma_regularizer: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.epsilon = checked_epsilon("LayerNormRNNCell", epsilon)
        self.keep_part("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)

    def add_weights(self, features: int) -> None:
        """Both matrices, and gain and shift of the norm."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.gamma = self.add("gamma", (self.units,))
        self.bias = self.add("bias", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x`; the bias comes after the norm."""
        return ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `W x`: the output `h` and `[h]`."""
        products = ops.matmul(self.dropped(states[0], training), self.recurrent_kernel)
        a = standardized(projected + products, self.epsilon) * self.gamma
        h = self.activation(a if self.bias is None else a + self.bias)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False, "epsilon": 0.3}, name="no bias"),
            ],
            others={"epsilon": 0.01},
            gates="",
        )
