"""The GRU of the first version of the paper: reset after the product."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._declaring import no_state_dropout, shared_arguments

__all__ = ["GRUV1Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class GRUV1Cell(StandardCell):
    """The GRU of version 1 of the paper: the reset gate acts after the product.

        z_t = recurrent_activation(W_z x_t + b_z + U_z h_{t-1} + d_z)
        r_t = recurrent_activation(W_r x_t + b_r + U_r h_{t-1} + d_r)
        g_t = activation(W_g x_t + b_g + r_t * (U_g h_{t-1} + d_g))

        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    `z_t` is what is kept of the state, as in the paper. `gru_v3` resets before the product.

    Paper: Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio 2014,
    "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation", arXiv:1406.1078v1, equations 5 to 8.

    Differences: the paper leaves out biases. Here are two rows of them, since `d_g` is
    within the reset; so the cell is `keras.layers.GRUCell` with `reset_after=True`, takes
    its weights, and is what cuDNN and `torch.nn.GRU` compute. Chung et al. 2014,
    arXiv:1412.3555, write `z` for what is new.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, `recurrent_kernel`
    `(units, 3 * units)` and `bias` `(2, 3 * units)`, the rows b, d, the blocks z, r, g.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_classic import GRUV1Cell
    >>> layer = kcells.RNN(GRUV1Cell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.build("gru_v1", 4).__class__.__name__
    'GRU'
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
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        width = 3 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (2, width))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x + b`, `(..., 3 * units)`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return products if self.bias is None else products + self.bias[0]

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        if self.bias is not None:
            products = products + self.bias[1]
        x_z, x_r, x_g = ops.split(projected, 3, axis=-1)
        h_z, h_r, h_g = ops.split(products, 3, axis=-1)
        z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
        h = z * h + (1 - z) * self.activation(x_g + r * h_g)
        return h, [h]

    def equivalent(self) -> Equivalence:
        """`keras.layers.GRU` with `reset_after=True`."""
        arguments = {**shared_arguments(self), "reset_after": True}
        return Equivalence("gru", [no_state_dropout(self)], arguments)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False}, name="no biases"),
            ],
            gates="update, reset",
            also_in="Keras, torch.nn",
        )
