"""The second of the simplified minimal gated units: its gate has no bias either."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MGU2Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MGU2Cell(StandardCell):
    """A minimal gated unit whose gate sees the state alone, and has no bias.

        f_t = recurrent_activation(U_f h_{t-1})
        g_t = activation(W x_t + U_h (f_t * h_{t-1}) + b_h)
        h_t = (1 - f_t) * h_{t-1} + f_t * g_t

    Paper: Heck and Salem 2017, "Simplified Minimal Gated Unit Variations for Recurrent Neural
    Networks", arXiv:1701.03452, the MGU2.

    Differences: none in the equations. Weights start as in Keras' own cells.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `recurrent_kernel`
    `(units, 2 * units)`, the blocks f, h; `bias` `(units,)` of the candidate.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mgu2", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 8), 'bias': (4,)}
    """

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

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        of_gate, of_candidate = ops.split(self.recurrent_kernel, 2, axis=-1)
        f = self.recurrent_activation(ops.matmul(seen, of_gate))
        g = self.activation(projected + ops.matmul(f * seen, of_candidate))
        h = (1 - f) * h + f * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget, which resets too",
            also_in="",
        )
