"""The IndyLSTM: each unit sees of the states nothing but its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.types import Tensor

__all__ = ["IndyLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class IndyLSTMCell(StandardCell):
    """An LSTM with vectors in the place of its recurrent matrices.

        i_t = sigmoid(W_i x_t + u_i * h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + u_f * h_{t-1} + b_f + forget_bias)
        g_t = activation(W_g x_t + u_g * h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + u_o * h_{t-1} + b_o)

        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * activation(c_t)

    Units meet in the next layer alone, so layers are meant to be stacked.

    Paper: Gonnet and Deselaers 2019, "IndyLSTMs: Independently Recurrent LSTMs",
    arXiv:1903.08023.

    Differences: the constant in the forget gate is that of `IndyLSTMCell` in
    `tf.contrib.rnn`, by an author of the paper, as is how the vectors start. There the blocks of
    weights are i, g, f, o.

    Args:
        units: the size of the states, a positive int.
        activation: for the candidate and the output. Default: `"tanh"`.
        forget_bias: is added to the forget gate at every step. Default: 1.
        recurrent_initializer: for `recurrent_kernel`. Default: None, uniform from -1 to 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; both and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`; `recurrent_kernel`, which
    is `u`, and `bias`, `(4 * units,)`, all with the blocks i, f, g, o.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("indy_lstm", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 16), 'recurrent_kernel': (16,), 'bias': (16,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        forget_bias: float = 1.0,
        recurrent_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        if recurrent_initializer is None:
            recurrent_initializer = initializers.RandomUniform(-1.0, 1.0)
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)
        self.activation = activations.get(activation)
        self.forget_bias = forget_bias
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (4 * self.units,))
        self.bias = self.add("bias", (4 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        seen = ops.tile(self.dropped(h, training), (1, 4))
        i, f, g, o = ops.split(projected + self.recurrent_kernel * seen, 4, axis=-1)
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * self.activation(g)
        h = ops.sigmoid(o) * self.activation(c)
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "forget_bias": 0.0, "use_bias": False}, name="no biases"),
            ],
            others={"forget_bias": 0.5},
            gates="input, forget, output",
            learning=Learning(depth=2),
        )
