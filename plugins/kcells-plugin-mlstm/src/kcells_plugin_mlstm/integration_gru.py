"""The GRU with multiplicative integration."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case
from kcells.types import Tensor
from kcells_plugin_mlstm.integration import IntegrationCell

__all__ = ["IntegrationGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-mlstm")
class IntegrationGRUCell(IntegrationCell):
    """A GRU in which inputs and state are multiplied as well as added (MI-GRU).

        k_t = s(alpha_k * (W_k x_t) * (U_k h_{t-1})
                + beta_k1 * (U_k h_{t-1}) + beta_k2 * (W_k x_t) + b_k)    for k in z, r
        q_t = U_g (r_t * h_{t-1})
        g_t = activation(alpha_g * (W_g x_t) * q_t + beta_g1 * q_t + beta_g2 * (W_g x_t) + b_g)
        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    `s` is `recurrent_activation`. With `alpha = 0` and `beta_1 = beta_2 = 1` it is
    `keras.layers.GRUCell` with `reset_after=False`.

    Paper: Wu, Zhang, Zhang, Bengio and Salakhutdinov 2016, "On Multiplicative Integration
    with Recurrent Neural Networks", arXiv:1606.06630, section 2.

    Differences: papers differ in which of `z` and `1 - z` goes with `h`; here they have the
    places of Cho et al. 2014, arXiv:1406.1078, and of Keras. Where the reset gate acts is open:
    two implementations have `U_g (r_t * h_{t-1})`, as here; a third has `r_t * (U_g h_{t-1})`,
    and says that it is the paper's. The paper's appendix, which would tell, was not at hand.
    `alpha`, `beta_1` and `beta_2` start at 1 here; the paper chooses by the task where they
    start.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for both gates. Default: `"sigmoid"`.
        alpha_initializer: for `alpha`. Default: `"ones"`.
        beta_initializer: for `beta_1` and `beta_2`. Default: `"ones"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights, in the blocks z, r, g: `kernel` `(features, 3 * units)`,
    `recurrent_kernel` `(units, 3 * units)`; `alpha`, `beta_1`, `beta_2` and `bias`
    `(3 * units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_mlstm import IntegrationGRUCell
    >>> layer = kcells.RNN(IntegrationGRUCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(3, 12), (4, 12), (12,), (12,), (12,), (12,)]
    """

    blocks = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        slopes, offsets = projected
        (h,) = states
        seen = self.dropped(h, training)
        gates, candidate = slice(None, 2 * self.units), slice(2 * self.units, None)
        products = ops.matmul(seen, self.recurrent_kernel[:, gates])
        sums = slopes[:, gates] * products + offsets[:, gates]
        z, r = ops.split(self.recurrent_activation(sums), 2, axis=-1)
        products = ops.matmul(r * seen, self.recurrent_kernel[:, candidate])
        g = self.activation(slopes[:, candidate] * products + offsets[:, candidate])
        h = z * h + (1 - z) * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False}, name="no bias"),
            ],
            gates="update, reset",
        )
