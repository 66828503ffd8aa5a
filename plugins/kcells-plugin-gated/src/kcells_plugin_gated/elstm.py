"""The LSTM with element-wise recurrence, whose exact gradient is cheap to compute forward."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.types import Tensor

__all__ = ["ELSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class ELSTMCell(StandardCell):
    """An LSTM whose units see of the memory themselves alone, except in the output gate.

        f_t = recurrent_activation(W_f x_t + u_f * c_{t-1} + b_f)
        z_t = activation(W_z x_t + u_z * c_{t-1} + b_z)
        c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        o_t = recurrent_activation(W_o x_t + U_o c_t + b_o)
        h_t = o_t * c_t

    The paper learns by real-time recurrent learning, which an element-wise recurrence makes
    affordable; here the gradient is that of back-propagation, which is the same.

    Paper: Irie, Gopalakrishnan and Schmidhuber 2023, "Exploring the Promise and Limits of
    Real-Time Recurrent Learning", arXiv:2305.19044.

    Differences: none in the equations. Weights start as in Keras' own cells, and both vectors,
    as the rows of one matrix, orthogonal. This is not the extended LSTM of Su and Kuo 2018,
    arXiv:1803.01686, which goes by the name of ELSTM, and has a scale for each time step.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[c]`; `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)` and `bias` `(3 * units,)`, the
    blocks f, z, o; `recurrent_vectors` `(2, units)`, the rows f, z; `recurrent_kernel`
    `(units, units)`, which is `U_o`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("elstm", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_vectors': (2, 4), 'recurrent_kernel': (4, 4), 'bias': (12,)}
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
        """Makes the four weights."""
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.recurrent_vectors = self.add("recurrent_vectors", (2, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (3 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[c]`."""
        (c,) = states
        seen = self.dropped(c, training)
        f, z, o = ops.split(projected, 3, axis=-1)
        f = self.recurrent_activation(f + self.recurrent_vectors[0] * seen)
        c = f * c + (1 - f) * self.activation(z + self.recurrent_vectors[1] * seen)
        products = ops.matmul(self.dropped(c, training), self.recurrent_kernel)
        return self.recurrent_activation(o + products) * c, [c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget, output",
            also_in="",
            learning=Learning(depth=2),
        )
