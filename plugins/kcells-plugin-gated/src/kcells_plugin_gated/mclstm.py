"""The LSTM with a memory controller: what it says is not what it feeds back."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.initial import raised

__all__ = ["MCLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MCLSTMCell(StandardCell):
    """An LSTM that feeds back a vector of its own, and not its output.

        i_t = recurrent_activation(W_i x_t + U_i v_{t-1} + b_i)
        f_t = recurrent_activation(W_f x_t + U_f v_{t-1} + b_f)
        g_t = activation(W_c x_t + U_c v_{t-1} + b_c)
        o_t = recurrent_activation(W_o x_t + U_o v_{t-1} + b_o)
        m_t = recurrent_activation(W_m x_t + U_m v_{t-1} + b_m)

        c_t = f_t * c_{t-1} + i_t * g_t
        v_t = m_t * tanh(c_t)
        h_t = o_t * tanh(c_t)

    The output `h` depends on the memory and never acts on it: the gate `m` chooses what does.

    Paper: Ben-Ari and Shwartz-Ziv 2017, "Sequence Modeling Using a Memory Controller Extension
    for LSTM", NIPS 2017 Time Series Workshop.

    Differences: the equations are those of torchrecurrent and RecurrentLayers.jl, which have
    second biases; the paper itself was not compared. Weights start as in Keras' own cells;
    theirs have no one added to the biases of the forget gate.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        unit_forget_bias: whether one is added to the biases of the forget gate at the start.
            Default: True.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[v, c]`; `v`, `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 5 * units)`, `recurrent_kernel`
    `(units, 5 * units)` and `bias` `(5 * units,)`, the blocks i, f, c, o, m.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mclstm", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 20), 'recurrent_kernel': (4, 20), 'bias': (20,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        start = raised(self.bias_initializer, 0, int(self.unit_forget_bias), 0, 0, 0)
        self.kernel = self.add("kernel", (features, 5 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 5 * self.units))
        self.bias = self.add("bias", (5 * self.units,), initializer=start)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[v, c]`."""
        v, c = states
        products = ops.matmul(self.dropped(v, training), self.recurrent_kernel)
        i, f, candidate, o, m = ops.split(projected + products, 5, axis=-1)
        kept = self.recurrent_activation(f) * c
        c = kept + self.recurrent_activation(i) * self.activation(candidate)
        squashed = ops.tanh(c)
        v = self.recurrent_activation(m) * squashed
        return self.recurrent_activation(o) * squashed, [v, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="input, forget, output, control",
            also_in="torchrecurrent",
        )
