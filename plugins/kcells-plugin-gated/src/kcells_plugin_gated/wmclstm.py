"""The LSTM with working memory connections: gates that see the memory through a matrix."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.initial import raised

__all__ = ["WMCLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class WMCLSTMCell(StandardCell):
    """An LSTM whose gates see its memory, through matrices and a tanh.

        i_t = recurrent_activation(W_i x_t + U_i h_{t-1} + tanh(V_i c_{t-1}) + b_i)
        f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + tanh(V_f c_{t-1}) + b_f)
        g_t = activation(W_c x_t + U_c h_{t-1} + b_c)

        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = recurrent_activation(W_o x_t + U_o h_{t-1} + tanh(V_o c_t) + b_o)
        h_t = o_t * tanh(c_t)

    Peepholes do the same with vectors, and nothing that keeps a large memory from saturating a
    gate.

    Paper: Landi, Baraldi, Cornia and Cucchiara 2021, "Working Memory Connections for LSTM",
    arXiv:2109.00020.

    Differences: none in the equations. Weights start as in Keras' own cells. torchrecurrent has
    biases inside of the tanh too, and adds no one to the biases of the forget gate.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        unit_forget_bias: whether one is added to the biases of the forget gate at the start.
            Default: True.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `h`, `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`, `recurrent_kernel`
    `(units, 4 * units)` and `bias` `(4 * units,)`, the blocks i, f, c, o;
    `recurrent_kernel_memory` `(units, 3 * units)`, the blocks i, f, o.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("wmclstm", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> for weight in layer.weights:
    ...     print(weight.name, tuple(weight.shape))
    kernel (3, 16)
        recurrent_kernel (4, 16)
        recurrent_kernel_memory (4, 12)
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

    @property
    def dropped_size(self) -> int:
        """Both states meet matrices."""
        return 2 * self.units

    def add_weights(self, features: int) -> None:
        """Makes the four weights."""
        start = raised(self.bias_initializer, 0, int(self.unit_forget_bias), 0, 0)
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 4 * self.units))
        self.recurrent_kernel_memory = self.add(
            "recurrent_kernel_memory", (self.units, 3 * self.units)
        )
        self.bias = self.add("bias", (4 * self.units,), initializer=start)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        seen, memory = self._seen(h, c, training)
        before, after = ops.split(self.recurrent_kernel_memory, [2 * self.units], axis=-1)
        of_i, of_f = ops.split(ops.tanh(ops.matmul(memory, before)), 2, axis=-1)
        products = projected + ops.matmul(seen, self.recurrent_kernel)
        i, f, candidate, o = ops.split(products, 4, axis=-1)
        kept = self.recurrent_activation(f + of_f) * c
        c = kept + self.recurrent_activation(i + of_i) * self.activation(candidate)
        _, memory = self._seen(h, c, training)
        o = self.recurrent_activation(o + ops.tanh(ops.matmul(memory, after)))
        h = o * ops.tanh(c)
        return h, [h, c]

    def _seen(self, h: Tensor, c: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Both states as the matrices see them."""
        seen: Tensor = self.dropped(ops.concatenate([h, c], axis=-1), training)
        return seen[..., : self.units], seen[..., self.units :]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="input, forget, output",
            also_in="torchrecurrent",
        )
