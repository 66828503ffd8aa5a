"""The residual LSTM: its inputs pass by, through the output gate."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.initial import raised

__all__ = ["ResLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class ResLSTMCell(StandardCell):
    """An LSTM with peepholes to whose projected output the inputs are added.

        i_t = recurrent_activation(W_i x_t + U_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + p_f * c_{t-1} + b_f)
        g_t = activation(W_c x_t + U_c h_{t-1} + b_c)

        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = recurrent_activation(W_o x_t + U_o h_{t-1} + p_o * c_t + b_o)
        h_t = o_t * (P activation(c_t) + x_t)

    Where `units` is not the number of features, `W_r x_t` takes the place of `x_t` in the last
    line. In a stack of such cells the shortcut leads from layer to layer, and the memory of one
    layer never mixes with that of another.

    Paper: Kim, El-Khamy and Lee 2017, "Residual LSTM: Design of a Deep Recurrent Architecture
    for Distant Speech Recognition", arXiv:1701.03360.

    Differences: the memory is as large as the output, where the paper also has a larger one,
    which `P` makes smaller. Weights start as in Keras' own cells. torchrecurrent always has
    `W_r`, starts the peepholes from a normal distribution, adds no one to the biases of the
    forget gate, and has second biases.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        unit_forget_bias: whether one is added to the biases of the forget gate at the start.
            Default: True.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `h`, `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`, `recurrent_kernel`
    `(units, 4 * units)` and `bias` `(4 * units,)`, the blocks i, f, c, o; `recurrent_peepholes`
    `(3, units)`, the rows i, f, o; `recurrent_projection` `(units, units)`, which is `P`;
    `kernel_residual` `(features, units)`, which is `W_r`, if there is one.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("res_lstm", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> for weight in layer.weights:
    ...     print(weight.name, tuple(weight.shape))
    kernel (3, 16)
        kernel_residual (3, 4)
        recurrent_kernel (4, 16)
        recurrent_peepholes (3, 4)
        recurrent_projection (4, 4)
        bias (16,)
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
        """Makes the weights; one for the shortcut if it needs one."""
        start = raised(self.bias_initializer, 0, int(self.unit_forget_bias), 0, 0)
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.kernel_residual: Any = None
        if features != self.units:
            self.kernel_residual = self.add("kernel_residual", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 4 * self.units))
        self.peepholes = self.add("recurrent_peepholes", (3, self.units))
        self.projection = self.add("recurrent_projection", (self.units, self.units))
        self.bias = self.add("bias", (4 * self.units,), initializer=start)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`W x + b`, and what passes by."""
        passing = ops.cast(inputs, self.compute_dtype)
        if self.kernel_residual is not None:
            dropped = self.input_dropout.drop(inputs, training)
            passing = ops.matmul(dropped, self.kernel_residual)
        return [super().project_inputs(inputs, training), passing]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products, passing = projected
        products = products + ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, f, candidate, o = ops.split(products, 4, axis=-1)
        i = self.recurrent_activation(i + self.peepholes[0] * c)
        f = self.recurrent_activation(f + self.peepholes[1] * c)
        c = f * c + i * self.activation(candidate)
        o = self.recurrent_activation(o + self.peepholes[2] * c)
        h = o * (ops.matmul(self.activation(c), self.projection) + passing)
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default"), Case({"units": 3}, name="as many as features")],
            gates="input, forget, output",
            also_in="torchrecurrent",
            note="F is not U",
        )
