"""The ordered neurons LSTM: gates over the gates, which erase and write in order."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["ONLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class ONLSTMCell(StandardCell):
    """An LSTM whose units are ordered by how long they remember.

        (i_t; f_t; o_t) = recurrent_activation(W x_t + U h_{t-1} + b)
        g_t = activation(W_g x_t + U_g h_{t-1} + b_g)

        F_t = cumax(W_F x_t + U_F h_{t-1} + b_F)
        I_t = 1 - cumax(W_I x_t + U_I h_{t-1} + b_I)
        w_t = F_t * I_t

        c_t = (f_t * w_t + F_t - w_t) * c_{t-1} + (i_t * w_t + I_t - w_t) * g_t
        h_t = o_t * activation(c_t)

        cumax(a)_k = softmax(a)_1 + ... + softmax(a)_k

    The master gates `F`, which rises along the units, and `I`, which falls, have an entry for
    each chunk of `chunk_size` units next to each other. Where one is 0 and the other 1, all of a
    chunk is overwritten or kept; the gates `f` and `i` of the units count where they overlap.

    Paper: Shen, Tan, Sordoni and Courville 2019, "Ordered Neurons: Integrating Tree Structures
    into Recurrent Neural Networks", arXiv:1810.09536.

    Differences: none in the equations. The authors' code has chunks of 10, drops connections of
    `U` rather than entries of `h`, and puts out the distances of the master gates too. The order
    of the blocks is Keras' of an LSTM, with the master gates at the end. Weights start as in
    Keras' own cells, but all biases at zero.

    Args:
        units: the size of each state, a positive int.
        chunk_size: how many units share the entries of the master gates; it divides `units`.
            Default: 1.
        activation: for the candidate and the output. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; both, and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, width)`, `recurrent_kernel` `(units, width)`
    and `bias` `(width,)`, the blocks i, f, g, o of `units` and F, I of `units / chunk_size`.

    Raises:
        ConfigurationError: if `units`, `chunk_size` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("on_lstm", 6, chunk_size=2)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 6)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 30), 'recurrent_kernel': (6, 30), 'bias': (30,)}
    """

    def __init__(
        self,
        units: int,
        chunk_size: int = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if units % self.positive("chunk_size", chunk_size):
            raise ConfigurationError(
                "ONLSTMCell: chunk_size must divide units; received"
                f" chunk_size={chunk_size}, units={units}."
            )
        self.chunk_size = chunk_size
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        width = 4 * self.units + 2 * (self.units // self.chunk_size)
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (width,))

    def _master(self, sums: Tensor) -> Tensor:
        """`cumax`, with an entry for each unit."""
        return ops.repeat(ops.cumsum(ops.softmax(sums, axis=-1), axis=-1), self.chunk_size, axis=-1)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        sums = projected + ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        # Not split at places: Keras makes a tensor of them, which torch.export cannot look into.
        gates, masters = sums[..., : 4 * self.units], sums[..., 4 * self.units :]
        i, f, g, o = ops.split(gates, 4, axis=-1)
        master_f, master_i = ops.split(masters, 2, axis=-1)
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        master_f, master_i = self._master(master_f), 1 - self._master(master_i)
        overlap = master_f * master_i
        kept = f * overlap + (master_f - overlap)
        written = i * overlap + (master_i - overlap)
        c = kept * c + written * self.activation(g)
        h = o * self.activation(c)
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 6, "chunk_size": 2}, name="chunks"),
            ],
            others={"chunk_size": 4},
            gates="input, forget, output; master input, master forget",
        )
