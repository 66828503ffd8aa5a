"""The GRU of TensorFlow's block operation, with the blocks in its order."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence
from kcells.types import Tensor
from kcells_plugin_classic._declaring import no_state_dropout
from kcells_plugin_classic._starting import gates_at_one
from kcells_plugin_classic.gru_v3 import GRUV3Cell

__all__ = ["GRUBlockCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class GRUBlockCell(GRUV3Cell):
    """The GRU that TensorFlow computes in one operation: the reset acts before the product.

        r_t = recurrent_activation(W_r x_t + U_r h_{t-1} + b_r)
        z_t = recurrent_activation(W_z x_t + U_z h_{t-1} + b_z)
        g_t = activation(W_g x_t + U_g (r_t * h_{t-1}) + b_g)

        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    It is for weights that were trained there: the matrix of the gates is the first two
    thirds of `kernel` above those of `recurrent_kernel`, and that of the candidate the last
    third. `gru_v3` computes the same with the blocks of Keras.

    Paper: Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio 2014,
    "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation", arXiv:1406.1078v3, as in `GRUBlockCellV2` of `tf.contrib.rnn`.

    Differences: the paper leaves out biases. `GRUBlockCellV2` has no other activations than
    the defaults. The biases start as there, the matrices as in Keras.

    Args:
        units: the size of the state, a positive int.
        bias_initializer: for `bias`. Default: None, one for the gates, zero for the candidate.
        **kwargs: the other arguments of `GRUV3Cell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, `recurrent_kernel`
    `(units, 3 * units)` and `bias` `(3 * units,)`, the blocks r, z, g.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("gru_block", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.to_builtin(layer).reset_after
    False
    """

    def __init__(self, units: int, bias_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(units, bias_initializer=bias_initializer, **kwargs)

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        width = 3 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (width,), initializer=self.bias_initializer or gates_at_one)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen, gates = self.dropped(h, training), 2 * self.units
        products = ops.matmul(seen, self.recurrent_kernel[:, :gates])
        r, z = ops.split(self.recurrent_activation(projected[..., :gates] + products), 2, axis=-1)
        products = ops.matmul(r * seen, self.recurrent_kernel[:, gates:])
        h = z * h + (1 - z) * self.activation(projected[..., gates:] + products)
        return h, [h]

    def equivalent(self) -> Equivalence:
        """`keras.layers.GRU` with `reset_after=False`, and the gates in its order."""
        arguments = {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "reset_after": False,
        }
        return Equivalence("gru", [no_state_dropout(self)], arguments, self._keras_weights)

    def _keras_weights(self) -> list[Tensor]:
        """The blocks z, r, g from the blocks r, z, g."""
        weights = [w for w in (self.kernel, self.recurrent_kernel, self.bias) if w is not None]
        blocks = (ops.split(ops.convert_to_tensor(w), 3, axis=-1) for w in weights)
        return [ops.concatenate([z, r, g], axis=-1) for r, z, g in blocks]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False}, name="no biases"),
            ],
            gates="update, reset",
        )
