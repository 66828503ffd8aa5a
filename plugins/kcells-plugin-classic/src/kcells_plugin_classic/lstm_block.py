"""The LSTM of TensorFlow's block operations, with the blocks in their order."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from kcells import Card, Case, Equivalence, Reason
from kcells.types import Tensor
from kcells_plugin_classic._starting import checked_bound, clip
from kcells_plugin_classic.basic_lstm import BasicLSTMCell

__all__ = ["LSTMBlockCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class LSTMBlockCell(BasicLSTMCell):
    """The LSTM that TensorFlow computes in one operation, with optional peepholes and bound.

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + p_f * c_{t-1} + b_f + forget_bias)
        g_t = activation(W_g x_t + U_g h_{t-1} + b_g)

        c_t = clip(f_t * c_{t-1} + i_t * g_t, cell_clip)
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + p_o * c_t + b_o)
        h_t = o_t * activation(c_t)

    `clip(a, bound)` keeps `a` within `-bound` and `bound`. It is for weights that were
    trained there: their matrix is `kernel` above `recurrent_kernel`, block by block.
    `lstmp` computes the same with the blocks of Keras.

    Paper: Zaremba, Sutskever and Vinyals 2014, "Recurrent Neural Network Regularization",
    arXiv:1409.2329, as in `LSTMBlockCell` of `tf.contrib.rnn`.

    Differences: the paper has no peepholes, bound or constant. Where the bound acts, the
    operations of TensorFlow hand gradients on as if it did not; here, as for any bound,
    they are zero. `BlockLSTMV2` has the blocks of Keras and no constant. The defaults are
    those of `LSTMBlockCell`, but matrices start as in Keras.

    Args:
        units: the size of the states, a positive int.
        peepholes: whether the gates see the cell. Default: False.
        cell_clip: a positive bound for `c`, or None. Default: None.
        **kwargs: the other arguments of `BasicLSTMCell`. Those that begin with `recurrent_`
            are for `recurrent_kernel` and `peephole_kernel`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; both and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`, `recurrent_kernel`
    `(units, 4 * units)` and `bias` `(4 * units,)`, the blocks i, g, f, o; `peephole_kernel`
    `(3, units)`, the rows i, f, o.

    Raises:
        ConfigurationError: if `units`, `cell_clip` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("lstm_block", 4, peepholes=True, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.explain(kcells.build("lstm_block", 4)).path
    'fused'
    """

    def __init__(
        self, units: int, peepholes: bool = False, cell_clip: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        self.peepholes = peepholes
        self.cell_clip = checked_bound(self, "cell_clip", cell_clip)

    def add_weights(self, features: int) -> None:
        """Creates the matrices, and the peepholes if there are any."""
        super().add_weights(features)
        self.peephole_kernel: Any = None
        if self.peepholes:
            self.peephole_kernel = self.add("peephole_kernel", (3, self.units), "recurrent")

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, g, f, o = ops.split(projected + products, 4, axis=-1)
        if self.peephole_kernel is not None:
            i, f = i + self.peephole_kernel[0] * c, f + self.peephole_kernel[1] * c
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * self.activation(g)
        c = clip(c, self.cell_clip)
        if self.peephole_kernel is not None:
            o = o + self.peephole_kernel[2] * c
        h = ops.sigmoid(o) * self.activation(c)
        return h, [h, c]

    def equivalent(self) -> Equivalence:
        """`keras.layers.LSTM`, without peepholes and bound."""
        same = super().equivalent()
        conditions = [
            Reason("there are no peepholes", not self.peepholes, f"peepholes={self.peepholes}"),
            Reason("the cell has no bound", self.cell_clip is None, f"cell_clip={self.cell_clip}"),
            *same.conditions,
        ]
        return dataclasses.replace(same, conditions=conditions, weights=self._keras_weights)

    def _keras_weights(self) -> list[Tensor]:
        """The blocks i, f, g, o from the blocks i, g, f, o, the constant in the bias."""
        zeros = ops.zeros((4 * self.units,), dtype=self.kernel.dtype)
        weights = [self.kernel, self.recurrent_kernel, zeros if self.bias is None else self.bias]
        *matrices, bias = (ops.split(ops.convert_to_tensor(w), 4, axis=-1) for w in weights)
        bias[2] = bias[2] + self.forget_bias
        return [ops.concatenate([i, f, g, o], axis=-1) for i, g, f, o in (*matrices, bias)]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "peepholes": True, "cell_clip": 0.4}, name="peepholes and bound"),
                Case({"units": 4, "forget_bias": 0.0, "use_bias": False}, name="no biases"),
            ],
            others={"cell_clip": 3.0, "forget_bias": 0.5},
            gates="input, forget, output",
        )
