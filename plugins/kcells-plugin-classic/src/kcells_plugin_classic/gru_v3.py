"""The GRU of the last version of the paper: reset before the product."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._declaring import no_state_dropout, shared_arguments

__all__ = ["GRUV3Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class GRUV3Cell(StandardCell):
    """The GRU of version 3 of the paper: the reset gate acts before the product.

        z_t = recurrent_activation(W_z x_t + U_z h_{t-1} + b_z)
        r_t = recurrent_activation(W_r x_t + U_r h_{t-1} + b_r)
        g_t = activation(W_g x_t + U_g (r_t * h_{t-1}) + b_g)

        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    `z_t` is what is kept of the state, as in the paper. `gru_v1` resets after the product,
    and is the one that runs on kernels.

    Paper: Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio 2014,
    "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation", arXiv:1406.1078v3, equations 5 to 8.

    Differences: the paper leaves out biases. The cell is `keras.layers.GRUCell` with
    `reset_after=False`, and takes its weights. `GRUCell` of TensorFlow 1 is the same, but
    starts the biases of the gates at 1.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, `recurrent_kernel`
    `(units, 3 * units)` and `bias` `(3 * units,)`, the blocks z, r, g.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_classic import GRUV3Cell
    >>> layer = kcells.RNN(GRUV3Cell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.to_builtin(layer).reset_after
    False
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
        self.bias = self.add("bias", (width,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen, gates = self.dropped(h, training), 2 * self.units
        x_z, x_r, x_g = ops.split(projected, 3, axis=-1)
        products = ops.matmul(seen, self.recurrent_kernel[:, :gates])
        h_z, h_r = ops.split(products, 2, axis=-1)
        z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
        h_g = ops.matmul(r * seen, self.recurrent_kernel[:, gates:])
        h = z * h + (1 - z) * self.activation(x_g + h_g)
        return h, [h]

    def equivalent(self) -> Equivalence:
        """`keras.layers.GRU` with `reset_after=False`."""
        arguments = {**shared_arguments(self), "reset_after": False}
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
            also_in="Keras",
        )
