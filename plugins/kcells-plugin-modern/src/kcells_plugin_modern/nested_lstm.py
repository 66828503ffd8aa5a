"""The nested LSTM: an LSTM whose memory is another LSTM."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["NestedLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class NestedLSTMCell(StandardCell):
    """An LSTM in which an inner LSTM takes the place of the sum that makes its memory.

        (i_t; f_t; o_t) = recurrent_activation(W x_t + U h_{t-1} + b + (0; forget_bias; 0))
        g_t = candidate_activation(W_g x_t + U_g h_{t-1} + b_g)

    What an LSTM would add up are the inputs and the state of the inner one:

        x'_t = i_t * g_t
        h'_t = f_t * c_{t-1}

        (i'_t; f'_t; o'_t) = recurrent_activation(W' x'_t + U' h'_t + b' + (0; forget_bias; 0))
        c'_t = f'_t * c'_{t-1} + i'_t * inner_activation(W'_g x'_t + U'_g h'_t + b'_g)

        c_t = o'_t * inner_activation(c'_t)
        h_t = o_t * activation(c_t)

    Paper: Moniz and Krueger 2017, "Nested LSTMs", arXiv:1801.10308, with one LSTM inside.

    Differences: the paper writes a function for each activation. Those who implemented it for
    TensorFlow (hannw/nlstm) and for Keras (titu1994/Nested-LSTM) both note that in the paper the
    activation of the outer candidate, and no other, is the identity, which is the default here.
    Implementations on PyTorch take tanh. The paper's equations have no constant, which is
    `forget_bias=0`; here it is 1, as in that for TensorFlow, for without it either LSTM forgets
    the half of what it holds at each step before it has learned to keep. That for Keras adds
    `i_t` and `g_t` where the paper multiplies them. Deeper nesting is left out. Weights start as
    in Keras' own cells, but all biases at zero.

    Args:
        units: the size of each state, a positive int.
        activation: for the output. Default: `"tanh"`.
        candidate_activation: for the outer candidate. Default: `"linear"`.
        inner_activation: for candidate and output of the inner LSTM. Default: `"tanh"`.
        recurrent_activation: for all gates. Default: `"sigmoid"`.
        forget_bias: is added to both forget gates at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c, c']`; all, and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`; `recurrent_kernel`,
    `kernel_inner` and `recurrent_kernel_inner` `(units, 4 * units)`; `bias` and `bias_inner`
    `(4 * units,)`; the blocks i, f, g, o in each.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("nested_lstm", 4, return_state=True)
    >>> [tuple(one.shape) for one in layer(np.ones((2, 5, 3), "float32"))]
    [(2, 4), (2, 4), (2, 4), (2, 4)]
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[2:4]}
    {'bias': (16,), 'kernel_inner': (4, 16)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        candidate_activation: Any = "linear",
        inner_activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.candidate_activation = activations.get(candidate_activation)
        self.inner_activation = activations.get(inner_activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.forget_bias = forget_bias
        self.state_size = [units] * 3

    def add_weights(self, features: int) -> None:
        """Makes three weights for either LSTM."""
        width = 4 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (width,))
        self.kernel_inner = self.add("kernel_inner", (self.units, width))
        self.recurrent_kernel_inner = self.add("recurrent_kernel_inner", (self.units, width))
        self.bias_inner = self.add("bias_inner", (width,))

    def _gates(self, sums: Tensor, activation: Any) -> list[Tensor]:
        """Gates i, f, o and the candidate g, from the four blocks."""
        i, f, g, o = ops.split(sums, 4, axis=-1)
        gates = map(self.recurrent_activation, (i, f + self.forget_bias, o))
        return [*gates, activation(g)]

    def _inner(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Output and memory of the inner LSTM."""
        sums = ops.matmul(x, self.kernel_inner) + ops.matmul(h, self.recurrent_kernel_inner)
        if self.bias_inner is not None:
            sums = sums + self.bias_inner
        i, f, o, g = self._gates(sums, self.inner_activation)
        c = f * c + i * g
        return o * self.inner_activation(c), c

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c, c']`."""
        h, c, inner = states
        sums = projected + ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, f, o, g = self._gates(sums, self.candidate_activation)
        c, inner = self._inner(i * g, f * c, inner)
        h = o * self.activation(c)
        return h, [h, c, inner]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NestedLSTMCell:
        """A cell from `get_config`; without a forget bias, as files of version 0.1 are."""
        cell: NestedLSTMCell = super().from_config({"forget_bias": 0.0, **config})
        return cell

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        plain = {"candidate_activation": "tanh", "forget_bias": 0.0, "use_bias": False}
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, **plain}, name="tanh, no biases"),
            ],
            others={"forget_bias": 0.5},
            gates="input, forget, output; the same within",
        )
