"""The minion recurrent unit: a GRU both of whose gates are numbers."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MiRU2Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MiRU2Cell(StandardCell):
    """A GRU whose gates are two numbers, the same for all units and steps.

        g_t = activation(W x_t + U (reset_coefficient * h_{t-1}) + b)
        h_t = update_coefficient * h_{t-1} + (1 - update_coefficient) * g_t

    A vanilla RNN that leaks: what the gates of a GRU learn is chosen beforehand.

    Paper: Zyarah and Kudithipudi 2025, "Minion Gated Recurrent Unit for Continual Learning",
    arXiv:2503.06175.

    Differences: the equations are those of torchrecurrent and RecurrentLayers.jl, which have
    second biases for the state; the paper itself was not compared. Theirs are the defaults of
    both numbers. Weights start as in Keras' own cells.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        update_coefficient: the share of the state that is kept, a float. Default: 0.5.
        reset_coefficient: the share of the state that the candidate sees, a float. Default: 0.5.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel` `(units, units)`
    and `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("miru2", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 4), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        update_coefficient: float = 0.5,
        reset_coefficient: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.update_coefficient = update_coefficient
        self.reset_coefficient = reset_coefficient

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.reset_coefficient * self.dropped(h, training)
        g = self.activation(projected + ops.matmul(seen, self.recurrent_kernel))
        h = self.update_coefficient * h + (1 - self.update_coefficient) * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="",
            also_in="torchrecurrent",
            others={"update_coefficient": 0.3, "reset_coefficient": 0.8},
        )
