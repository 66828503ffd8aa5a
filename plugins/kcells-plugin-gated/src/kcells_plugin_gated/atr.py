"""ATR: two gates from one sum and one difference."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["ATRCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class ATRCell(StandardCell):
    """The addition-subtraction twin-gated RNN, of two matrices.

        p_t = W x_t
        q_t = U h_{t-1} + b
        i_t = recurrent_activation(p_t + q_t)
        f_t = recurrent_activation(p_t - q_t)
        h_t = i_t * p_t + f_t * h_{t-1}

    Where `p` and `q` agree more is taken in, and where they do not more is kept. Neither the
    candidate, which is `p_t` itself, nor the state goes through a nonlinearity.

    Paper: Zhang, Xiong, Su, Lin and Zhang 2018, "Simplifying Neural Machine Translation with
    Addition-Subtraction Twin-Gated Recurrent Networks", arXiv:1810.12546.

    Differences: none in the equations. The bias is where the authors' code has it, at `q` alone.
    Weights start as in Keras' own cells. torchrecurrent and RecurrentLayers.jl have a bias at
    `p` too.

    Args:
        units: the size of the state, a positive int.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel` `(units, units)`
    and `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("atr", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 4), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`p`, without a bias."""
        return ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        q = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        if self.bias is not None:
            q = q + self.bias
        i = self.recurrent_activation(projected + q)
        f = self.recurrent_activation(projected - q)
        h = i * projected + f * h
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="input, forget",
            also_in="torchrecurrent",
        )
