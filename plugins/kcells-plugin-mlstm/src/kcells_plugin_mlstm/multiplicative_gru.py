"""The multiplicative GRU: what the multiplicative LSTM does to an LSTM, done to a GRU."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MultiplicativeGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-mlstm")
class MultiplicativeGRUCell(StandardCell):
    """A GRU whose recurrent products are with `m` in place of `h`.

        m_t = (W_mx x_t) * (W_mh h_{t-1})
        z_t = recurrent_activation(W_zx x_t + W_zm m_t + b_z)
        r_t = recurrent_activation(W_rx x_t + W_rm m_t + b_r)
        g_t = activation(W_gx x_t + W_gm (r_t * m_t) + b_g)
        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    Papers: `m` and where it stands are from Krause, Lu, Murray and Renals 2016,
    "Multiplicative LSTM for sequence modelling", arXiv:1609.07959; the GRU is that of Cho et
    al. 2014, arXiv:1406.1078.

    Differences: the first paper has no GRU. This is its rule, that `m` replaces `h` wherever
    a matrix meets it, applied to the equations of the second; what is carried over stays
    `h`. Others have built a multiplicative GRU (Maupomé and Meurs 2019, arXiv:1907.00455);
    these equations were not taken from there.

    Args:
        units: the size of the state, and of `m`, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for both gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`. `kernel_*` are for `kernel`,
            `recurrent_*` for both other matrices, and `recurrent_dropout` drops entries of
            `h_{t-1}` where `m_t` sees them.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)`, the blocks z, r, g as in
    `keras.layers.GRUCell`, and then `W_mx`; `multiplicative_kernel` `(units, units)`, which
    is `W_mh`; `recurrent_kernel` `(units, 3 * units)`, which acts on `m`; `bias`
    `(3 * units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_mlstm import MultiplicativeGRUCell
    >>> layer = kcells.RNN(MultiplicativeGRUCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(3, 16), (4, 4), (4, 12), (12,)]
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
        """The matrices of a GRU, those of `m`, and the bias."""
        units = self.units
        self.kernel = self.add("kernel", (features, 4 * units))
        self.multiplicative_kernel = self.add(
            "multiplicative_kernel", (units, units), part="recurrent"
        )
        self.recurrent_kernel = self.add("recurrent_kernel", (units, 3 * units))
        self.bias = self.add("bias", (3 * units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The products with the inputs: those of gates, candidate and `m`."""
        units = self.units
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        sums, factor = products[..., : 3 * units], products[..., 3 * units :]
        if self.bias is not None:
            sums = sums + self.bias
        return {
            "gates": sums[..., : 2 * units],
            "candidate": sums[..., 2 * units :],
            "factor": factor,
        }

    def step(
        self, projected: dict[str, Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        of_gates = self.recurrent_kernel[:, : 2 * self.units]
        of_candidate = self.recurrent_kernel[:, 2 * self.units :]
        seen = ops.matmul(self.dropped(h, training), self.multiplicative_kernel)
        m = projected["factor"] * seen
        gates = self.recurrent_activation(projected["gates"] + ops.matmul(m, of_gates))
        z, r = ops.split(gates, 2, axis=-1)
        g = self.activation(projected["candidate"] + ops.matmul(r * m, of_candidate))
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
