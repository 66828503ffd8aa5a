"""The vanilla RNN with multiplicative integration."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case
from kcells.types import Tensor
from kcells_plugin_mlstm.integration import IntegrationCell

__all__ = ["IntegrationRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-mlstm")
class IntegrationRNNCell(IntegrationCell):
    """A vanilla RNN in which inputs and state are multiplied as well as added (MI-RNN).

        a_t = alpha * (W x_t) * (U h_{t-1}) + beta_1 * (U h_{t-1}) + beta_2 * (W x_t) + b
        h_t = activation(a_t)

    With `alpha = 0` and `beta_1 = beta_2 = 1` it is `keras.layers.SimpleRNNCell`.

    Paper: Wu, Zhang, Zhang, Bengio and Salakhutdinov 2016, "On Multiplicative Integration
    with Recurrent Neural Networks", arXiv:1606.06630, section 2.

    Differences: none in the equations. `alpha`, `beta_1` and `beta_2` start at 1 here; the
    paper chooses by the task where they start.

    Args:
        units: the size of the state, a positive int.
        activation: Default: `"tanh"`.
        alpha_initializer: for `alpha`. Default: `"ones"`.
        beta_initializer: for `beta_1` and `beta_2`. Default: `"ones"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel`
    `(units, units)`; `alpha`, `beta_1`, `beta_2` and `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, keras, numpy as np
    >>> from kcells_plugin_mlstm import IntegrationRNNCell
    >>> cell = IntegrationRNNCell(4, alpha_initializer=keras.initializers.Constant(2.0))
    >>> layer = kcells.RNN(cell, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> [weight.name for weight in layer.weights]
    ['kernel', 'recurrent_kernel', 'alpha', 'beta_1', 'beta_2', 'bias']
    """

    blocks = 1

    def __init__(self, units: int, activation: Any = "tanh", **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        slopes, offsets = projected
        products = ops.matmul(self.dropped(states[0], training), self.recurrent_kernel)
        h = self.activation(slopes * products + offsets)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False}, name="no bias"),
            ],
            gates="",
        )
