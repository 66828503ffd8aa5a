"""The LSTM without peepholes, with a constant in the forget gate."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._declaring import lstm_weights, no_state_dropout

__all__ = ["BasicLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class BasicLSTMCell(StandardCell):
    """An LSTM without peepholes, whose forget gate has a constant added.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f + forget_bias)
        g_t = activation(W_g x_t + U_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)

        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * activation(c_t)

    Paper: Zaremba, Sutskever and Vinyals 2014, "Recurrent Neural Network Regularization",
    arXiv:1409.2329, section 3.1.

    Differences: the paper has no constant, which is `forget_bias=0`; here it is 1, as in
    `BasicLSTMCell` of TensorFlow. `keras.layers.LSTMCell` starts `b_f` at 1 instead, so
    that it is trained, regularized and saved with the bias. `dropout` keeps one mask for
    all steps, where the paper draws one for each. The blocks are ordered as in Keras; in
    the paper they are i, f, o, g, in TensorFlow i, g, f, o.

    Args:
        units: the size of the states, a positive int.
        activation: for the candidate and the output. Default: `"tanh"`.
        forget_bias: is added to the forget gate at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; both and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`, `recurrent_kernel`
    `(units, 4 * units)` and `bias` `(4 * units,)`, the blocks i, f, g, o.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_classic import BasicLSTMCell
    >>> layer = kcells.RNN(BasicLSTMCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.explain(kcells.build(BasicLSTMCell, 4)).path
    'fused'
    """

    def __init__(
        self, units: int, activation: Any = "tanh", forget_bias: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.forget_bias = forget_bias
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 4 * self.units))
        self.bias = self.add("bias", (4 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, f, g, o = ops.split(projected + products, 4, axis=-1)
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * self.activation(g)
        h = ops.sigmoid(o) * self.activation(c)
        return h, [h, c]

    def equivalent(self) -> Equivalence:
        """`keras.layers.LSTM`, with the constant in its bias."""
        arguments = {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "dropout": self.dropout,
        }
        return Equivalence("lstm", [no_state_dropout(self)], arguments, lambda: lstm_weights(self))

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "forget_bias": 0.0, "use_bias": False}, name="no biases"),
                Case({"units": 4, "activation": "relu"}, name="relu"),
            ],
            others={"forget_bias": 0.5},
            gates="input, forget, output",
        )
