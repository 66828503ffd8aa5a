"""The strongly-typed LSTM: a gated mean, read out through a gate."""

from __future__ import annotations

import keras
from keras import ops

from kcells import Card, Case, Learning
from kcells.types import Tensor
from kcells_plugin_gated.two_steps import TwoStepsCell

__all__ = ["TLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class TLSTMCell(TwoStepsCell):
    """A gated mean read out through a tanh, both of which see the inputs of two steps alone.

        z_t = W_z x_t + V_z x_{t-1} + b_z
        f_t = recurrent_activation(W_f x_t + V_f x_{t-1} + b_f)
        o_t = activation(W_o x_t + V_o x_{t-1} + b_o)

        c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        h_t = c_t * o_t

    Paper: Balduzzi and Ghifary 2016, "Strongly-Typed Recurrent Neural Networks",
    arXiv:1602.02218, the T-LSTM.

    Differences: none in the equations. The state holds `p_t = (V_z x_t, V_f x_t, V_o x_t)` in
    the place of the inputs, so that it does not depend on their number, and all products are in
    `project_inputs`. Weights start as in Keras' own cells. torchrecurrent computes the same, and
    holds the inputs.

    Args:
        units: the size of the state, a positive int.
        activation: for `o`. Default: `"tanh"`.
        recurrent_activation: for the forget gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`; states `[c, p]`; `c` and the output, which is `h`,
    `(batch, units)`; `p` `(batch, 3 * units)`, which holds the products of the last inputs.
    Weights: `kernel` and `kernel_previous` `(features, 3 * units)`, and `bias` `(3 * units,)`,
    the blocks z, f, o.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("tlstm", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'kernel_previous': (3, 12), 'bias': (12,)}
    """

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output and `[c, p]`."""
        c, previous = states
        now, following = projected
        z, f, o = ops.split(now + previous, 3, axis=-1)
        f, o = self.recurrent_activation(f), self.activation(o)
        c = f * c + (1 - f) * z
        return c * o, [c, following]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget, output",
            also_in="torchrecurrent",
            learning=Learning(depth=2),
        )
