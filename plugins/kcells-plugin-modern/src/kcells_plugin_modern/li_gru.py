"""The light GRU: no reset gate, and a rectified candidate."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["LiGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class LiGRUCell(StandardCell):
    """A GRU without a reset gate, with a rectified candidate.

        z_t = recurrent_activation(W_z x_t + U_z h_{t-1} + b_z)
        g_t = activation(W_h x_t + U_h h_{t-1} + b_h)
        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    Paper: Ravanelli, Brakel, Omologo and Bengio 2018, "Light Gated Recurrent Units for Speech
    Recognition", arXiv:1803.10225.

    Differences: there is no batch normalization. The paper normalizes `W_z x_t` and `W_h x_t`
    over batch and time, and finds that this is what keeps a rectified state from blowing up;
    here a bias stands in the place of its shift. Where a long sequence does blow up, take a
    bounded `activation` such as `"relu6"`. torchrecurrent leaves the normalization out too.

    The weights start as the paper says: kernels as Glorot and Bengio, recurrent ones orthogonal,
    and orthogonal here is the matrix of both blocks. The authors' code differs: on Theano kernels
    start with a much smaller spread, on PyTorch as in any `nn.Linear`. Both drop entries of the
    candidate `g_t`, where `recurrent_dropout` drops those of `h_{t-1}`.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"relu"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, `recurrent_kernel`
    `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks z, h.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("li_gru", 4, recurrent_dropout=0.2)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 8), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "relu",
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
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        gate, candidate = ops.split(projected + products, 2, axis=-1)
        z = self.recurrent_activation(gate)
        h = z * h + (1 - z) * self.activation(candidate)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "activation": "tanh"}, name="tanh"),
            ],
            gates="update",
            also_in="torchrecurrent",
        )
