"""The convolutional GRU, for frames with one, two or three axes of space."""

from __future__ import annotations

from typing import Any

import keras

from kcells import Card, Case, Workload
from kcells.types import Tensor
from kcells_plugin_classic.convolutional import LEARNING, ConvolutionalCell, line, on_a_line

__all__ = ["ConvGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class ConvGRUCell(ConvolutionalCell):
    """A GRU on frames, which convolves where a GRU multiplies with a matrix.

        z_t = recurrent_activation(W_z * x_t + U_z * h_{t-1} + b_z)
        r_t = recurrent_activation(W_r * x_t + U_r * h_{t-1} + b_r)
        g_t = activation(W_g * x_t + U_g * (r_t . h_{t-1}) + b_g)
        h_t = (1 - z_t) . h_{t-1} + z_t . g_t

    `*` is a convolution, `.` the product entry by entry. One cell is ConvGRU1D, ConvGRU2D and
    ConvGRU3D: how many axes a frame has, its inputs tell. The paper calls it GRU-RCN.

    Paper: Ballas, Yao, Pal and Courville 2016, "Delving Deeper into Convolutional Networks for
    Learning Video Representations", arXiv:1511.06432.

    Differences: the paper has no biases (`use_bias=False`), and zeros around the inputs
    (`padding="same"`); the defaults are those of Keras' convolutional LSTMs. `z` is the share of
    what is new, as in the paper; in Keras' GRU it is that of what is kept. Weights start as in
    Keras. The paper's cells that see the layer below at every step are not here.

    Args:
        filters: the number of channels of the states, a positive int.
        kernel_size: the size of the kernels, an int or a tuple with one for each axis of space.
        strides, padding, data_format, dilation_rate: how the kernel is laid over the inputs, as
            in `keras.layers.ConvLSTM2D`. Default: 1, `"valid"`, Keras' setting, 1.
        **kwargs: the other arguments of `ConvolutionalCell` of this package.

    Shapes: inputs `(batch, *space, channels)`, or with `data_format="channels_first"`
    `(batch, channels, *space)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, *new_space, filters)` or `(batch, filters, *new_space)`. Weights: `kernel`
    `(*kernel_size, channels, 3 * filters)`, `recurrent_kernel`
    `(*kernel_size, filters, 3 * filters)` and `bias` `(3 * filters,)`, the blocks z, r, g.

    Raises:
        ConfigurationError: if an argument is out of range.
        StructureError: if the inputs of a step are not frames of a known size, or do not fit.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("conv_gru", 4, kernel_size=3, padding="same", return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 8, 8, 3), "float32")).shape)
    (2, 5, 8, 8, 4)
    """

    blocks = 3

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen, gates = self.dropped(h, training), 2 * self.filters
        x_z, x_r, x_g = self.split(projected, 3)
        products = self.convolved(seen, self.recurrent_kernel[..., :gates])
        h_z, h_r = self.split(products, 2)
        z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
        h_g = self.convolved(r * seen, self.recurrent_kernel[..., gates:])
        h = (1 - z) * h + z * self.activation(x_g + h_g)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        first: dict[str, Any] = {"data_format": "channels_first", "padding": "same"}
        return Card(
            [
                Case({"filters": 2, "kernel_size": 2, "dilation_rate": 2}, (5, 2), "a line"),
                Case({"filters": 2, "kernel_size": (2, 3), **first}, (2, 3, 4), "channels first"),
                Case({"filters": 2, "kernel_size": 2, "use_bias": False}, (3, 2, 2, 1), "a volume"),
            ],
            others={
                "kernel_size": (3, 2),
                "strides": (2, 1),
                "dilation_rate": 1,
                "padding": "same",
                "data_format": "channels_first",
            },
            arguments=on_a_line,
            inputs=line,
            gates="update, reset",
            note="frames of width W, kernel_size = 3",
            workload=Workload(divisor=4),
            learning=LEARNING,
        )
