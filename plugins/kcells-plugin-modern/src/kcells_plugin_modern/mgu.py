"""The minimal gated unit: a GRU with one gate for both of its tasks."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MGUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class MGUCell(StandardCell):
    """The minimal gated unit, whose forget gate also is what the candidate sees the state through.

        f_t = recurrent_activation(W_f x_t + U_f h_{t-1} + b_f)
        g_t = activation(W_h x_t + U_h (f_t * h_{t-1}) + b_h)
        h_t = (1 - f_t) * h_{t-1} + f_t * g_t

    A GRU with `reset_after=False` is the same where its update gate, which in Keras is the
    share that stays, is one minus its reset gate.

    Paper: Zhou, Wu, Zhang and Zhou 2016, "Minimal Gated Unit for Recurrent Neural Networks",
    arXiv:1603.09420.

    Differences: none in the equations. Weights start as in Keras' own cells. torchrecurrent
    computes the same, with a second bias for the state.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, `recurrent_kernel`
    `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks f, h.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mgu", 4)
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
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)

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
        gate, candidate = ops.split(projected, 2, axis=-1)
        of_gate, of_candidate = ops.split(self.recurrent_kernel, 2, axis=-1)
        f = self.recurrent_activation(gate + ops.matmul(seen, of_gate))
        g = self.activation(candidate + ops.matmul(f * seen, of_candidate))
        h = (1 - f) * h + f * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget, which resets too",
            also_in="torchrecurrent",
        )
