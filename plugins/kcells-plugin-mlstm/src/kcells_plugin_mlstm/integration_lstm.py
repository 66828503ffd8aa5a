"""The LSTM with multiplicative integration."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Learning
from kcells.types import Tensor
from kcells_plugin_mlstm.integration import IntegrationCell

__all__ = ["IntegrationLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-mlstm")
class IntegrationLSTMCell(IntegrationCell):
    """An LSTM in which inputs and state are multiplied as well as added (MI-LSTM).

        k_t = alpha_k * (W_k x_t) * (U_k h_{t-1})
              + beta_k1 * (U_k h_{t-1}) + beta_k2 * (W_k x_t) + b_k    for k in i, f, g, o
        c_t = s(f_t) * c_{t-1} + s(i_t) * activation(g_t)
        h_t = s(o_t) * activation(c_t)

    `s` is `recurrent_activation`. With `alpha = 0` and `beta_1 = beta_2 = 1` it is
    `keras.layers.LSTMCell`.

    Paper: Wu, Zhang, Zhang, Bengio and Salakhutdinov 2016, "On Multiplicative Integration
    with Recurrent Neural Networks", arXiv:1606.06630, section 2 and appendix.

    Differences: none in the equations. `alpha`, `beta_1` and `beta_2` start at 1 here; the
    paper chooses by the task where they start.

    Args:
        units: the size of both states, a positive int.
        activation: for candidate and output. Default: `"tanh"`.
        recurrent_activation: for the three gates. Default: `"sigmoid"`.
        unit_forget_bias: whether the bias of the forget gate starts at 1. Default: False.
        alpha_initializer: for `alpha`. Default: `"ones"`.
        beta_initializer: for `beta_1` and `beta_2`. Default: `"ones"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `h`, `c` and the output, which is
    `h`, `(batch, units)`. Weights, in the blocks i, f, g, o: `kernel`
    `(features, 4 * units)`, `recurrent_kernel` `(units, 4 * units)`; `alpha`, `beta_1`,
    `beta_2` and `bias` `(4 * units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_mlstm import IntegrationLSTMCell
    >>> layer = kcells.RNN(IntegrationLSTMCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(3, 16), (4, 16), (16,), (16,), (16,), (16,)]
    """

    blocks = 4

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        unit_forget_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [units, units]

    def first_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """What `bias_initializer` gives, but for the forget gate's part."""
        bias = super().first_bias(shape, dtype)
        if not self.unit_forget_bias:
            return bias
        i, _, g, o = ops.split(bias, 4)
        return ops.concatenate([i, ops.ones((self.units,), dtype=dtype), g, o])

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        slopes, offsets = projected
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, f, g, o = ops.split(slopes * products + offsets, 4, axis=-1)
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        c = f * c + i * self.activation(g)
        h = o * self.activation(c)
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False}, name="no bias"),
            ],
            gates="input, forget, output",
            learning=Learning(lambda at: {"unit_forget_bias": True}),
        )
