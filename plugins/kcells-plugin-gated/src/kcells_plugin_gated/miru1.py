"""The minion recurrent unit with a reset gate: a GRU whose update gate is a number."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MiRU1Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MiRU1Cell(StandardCell):
    """A GRU whose update gate is one number, the same for all units and steps.

        r_t = recurrent_activation(W_r x_t + U_r h_{t-1} + b_r)
        g_t = activation(W_h x_t + U_h (r_t * h_{t-1}) + b_h)
        h_t = update_coefficient * h_{t-1} + (1 - update_coefficient) * g_t

    Paper: Zyarah and Kudithipudi 2025, "Minion Gated Recurrent Unit for Continual Learning",
    arXiv:2503.06175.

    Differences: the equations are those of torchrecurrent and RecurrentLayers.jl, which have
    second biases for the state; the paper itself was not compared. Theirs is the default of
    `update_coefficient`. Weights start as in Keras' own cells.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the reset gate. Default: `"sigmoid"`.
        update_coefficient: the share of the state that is kept, a float. Default: 0.5.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, `recurrent_kernel`
    `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks r, h.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("miru1", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 8), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        update_coefficient: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.update_coefficient = update_coefficient

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        reset, candidate = ops.split(projected, 2, axis=-1)
        of_reset, of_candidate = ops.split(self.recurrent_kernel, 2, axis=-1)
        r = self.recurrent_activation(reset + ops.matmul(seen, of_reset))
        g = self.activation(candidate + ops.matmul(r * seen, of_candidate))
        h = self.update_coefficient * h + (1 - self.update_coefficient) * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="reset",
            also_in="torchrecurrent",
            others={"update_coefficient": 0.3},
        )
