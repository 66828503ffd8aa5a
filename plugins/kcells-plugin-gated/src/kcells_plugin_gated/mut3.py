"""MUT3: of the same search, with an update gate that sees the state squashed."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MUT3Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MUT3Cell(StandardCell):
    """A GRU whose update gate sees the tanh of the state.

        z_t = recurrent_activation(W_z x_t + U_z tanh(h_{t-1}) + b_z)
        r_t = recurrent_activation(W_r x_t + U_r h_{t-1} + b_r)
        g_t = activation(W_h x_t + U_h (r_t * h_{t-1}) + b_h)
        h_t = (1 - z_t) * h_{t-1} + z_t * g_t

    Paper: Jozefowicz, Zaremba and Sutskever 2015, "An Empirical Exploration of Recurrent Network
    Architectures", ICML 2015.

    Differences: none in the equations. Weights start as in Keras' own cells. torchrecurrent
    computes the same, with second biases for the state.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, `recurrent_kernel`
    `(units, 3 * units)` and `bias` `(3 * units,)`, the blocks z, r, h.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mut3", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_kernel': (4, 12), 'bias': (12,)}
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
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 3 * self.units))
        self.bias = self.add("bias", (3 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen, squashed = self.dropped(h, training), self.dropped(ops.tanh(h), training)
        z, r, candidate = ops.split(projected, 3, axis=-1)
        of_z, of_r, of_candidate = ops.split(self.recurrent_kernel, 3, axis=-1)
        z = self.recurrent_activation(z + ops.matmul(squashed, of_z))
        r = self.recurrent_activation(r + ops.matmul(seen, of_r))
        g = self.activation(candidate + ops.matmul(r * seen, of_candidate))
        h = (1 - z) * h + z * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="update, reset",
            also_in="torchrecurrent",
        )
