"""The LSTM whose forget gate is what the input gate leaves."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, Reason, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._declaring import no_state_dropout

__all__ = ["CIFGLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class CIFGLSTMCell(StandardCell):
    """An LSTM with coupled input and forget gate: what comes in makes room for itself.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + p_i * c_{t-1} + b_i)
        g_t = activation(W_g x_t + U_g h_{t-1} + b_g)

        c_t = (1 - i_t) * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + p_o * c_t + b_o)

        h_t = o_t * activation(c_t)

    Paper: Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber 2017, "LSTM: A Search
    Space Odyssey", arXiv:1503.04069, the variant CIFG.

    Differences: none in the equations. `CoupledInputForgetGateLSTMCell` of `tf.contrib.rnn`
    computes the forget gate, adds a constant of 1 to it, takes `1 - f_t` for the input, and
    has no peepholes unless asked to. Weights start as in Keras.

    Args:
        units: the size of the states, a positive int.
        peepholes: whether the gates see the cell. Default: True, as in the paper.
        activation: for the candidate and the output. Default: `"tanh"`.
        **kwargs: the other arguments of `kcells.StandardCell`. Those that begin with
            `recurrent_` are for `recurrent_kernel` and `peephole_kernel`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; both and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, `recurrent_kernel`
    `(units, 3 * units)` and `bias` `(3 * units,)`, the blocks i, g, o; `peephole_kernel`
    `(2, units)`, the rows i, o.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("cifg_lstm", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.explain(kcells.build("cifg_lstm", 4, peepholes=False)).path
    'fused'
    """

    def __init__(
        self, units: int, peepholes: bool = True, activation: Any = "tanh", **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        self.peepholes = peepholes
        self.activation = activations.get(activation)
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Creates the matrices, and the peepholes if there are any."""
        width = 3 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (width,))
        self.peephole_kernel: Any = None
        if self.peepholes:
            self.peephole_kernel = self.add("peephole_kernel", (2, self.units), "recurrent")

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, g, o = ops.split(projected + products, 3, axis=-1)
        if self.peephole_kernel is not None:
            i = i + self.peephole_kernel[0] * c
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        c = ops.sigmoid(-i) * c + ops.sigmoid(i) * self.activation(g)
        if self.peephole_kernel is not None:
            o = o + self.peephole_kernel[1] * c
        h = ops.sigmoid(o) * self.activation(c)
        return h, [h, c]

    def equivalent(self) -> Equivalence:
        """`keras.layers.LSTM`, whose forget gate has the weights of the input gate negated."""
        conditions = [
            Reason("there are no peepholes", not self.peepholes, f"peepholes={self.peepholes}"),
            no_state_dropout(self),
        ]
        arguments = {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
        }
        return Equivalence("lstm", conditions, arguments, self._keras_weights)

    def _keras_weights(self) -> list[Tensor]:
        weights = [self.kernel, self.recurrent_kernel, self.bias]
        return [_with_forget_gate(weight) for weight in weights if weight is not None]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="peepholes"),
                Case({"units": 4, "peepholes": False}, name="no peepholes"),
            ],
            gates="input, which forgets too; output",
        )


def _with_forget_gate(weight: Any) -> Tensor:
    """The blocks i, f, g, o from the blocks i, g, o."""
    i, g, o = ops.split(ops.convert_to_tensor(weight), 3, axis=-1)
    return ops.concatenate([i, -i, g, o], axis=-1)
