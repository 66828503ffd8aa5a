"""The convolutional LSTM, for frames with one, two or three axes of space."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells import Card, Case, Workload
from kcells.types import Tensor
from kcells_plugin_classic.convolutional import LEARNING, ConvolutionalCell, line, on_a_line

__all__ = ["ConvLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class ConvLSTMCell(ConvolutionalCell):
    """An LSTM on frames, which convolves where an LSTM multiplies with a matrix.

        i_t = recurrent_activation(W_i * x_t + U_i * h_{t-1} + p_i . c_{t-1} + b_i)
        f_t = recurrent_activation(W_f * x_t + U_f * h_{t-1} + p_f . c_{t-1} + b_f)
        g_t = activation(W_g * x_t + U_g * h_{t-1} + b_g)
        c_t = f_t . c_{t-1} + i_t . g_t
        o_t = recurrent_activation(W_o * x_t + U_o * h_{t-1} + p_o . c_t + b_o)
        h_t = o_t . activation(c_t)

    `*` is a convolution, `.` the product entry by entry. The same cell is what other libraries
    call ConvLSTM1D, ConvLSTM2D and ConvLSTM3D: how many axes a frame has, its inputs tell.

    Paper: Shi, Chen, Wang, Yeung, Wong and Woo 2015, "Convolutional LSTM Network: A Machine
    Learning Approach for Precipitation Nowcasting", arXiv:1506.04214.

    Differences: the defaults are those of `keras.layers.ConvLSTM2D`, which has no peepholes and
    puts no zeros around the inputs. `ConvLSTMCell` of `tf.contrib.rnn` has no peepholes either,
    but those zeros, `padding="same"`; the paper has `peepholes=True, padding="same"`. Keras drops
    other entries for each gate, this cell the same for all; and Keras' layers take no masks on
    JAX, where this cell does. Use `kcells.RNN`: `keras.layers.RNN` takes this cell once it is
    built, but then neither the inputs of a functional model nor, on JAX, masks.

    Args:
        filters: the number of channels of the states, a positive int.
        kernel_size: the size of the kernels, an int or a tuple with one for each axis of space.
        peepholes: whether the gates see the cell. Each entry of a frame has weights of its own.
            Default: False.
        unit_forget_bias: whether the biases of `f` start at one. Default: True.
        strides, padding, data_format, dilation_rate: how the kernel is laid over the inputs, as
            in `keras.layers.ConvLSTM2D`. Default: 1, `"valid"`, Keras' setting, 1.
        **kwargs: the other arguments of `ConvolutionalCell` of this package. Those that begin with
            `recurrent_` are for `recurrent_kernel` and `peephole_kernel`.

    Shapes: inputs `(batch, *space, channels)`, or with `data_format="channels_first"`
    `(batch, channels, *space)`; states `[h, c]`; both and the output, which is `h`,
    `(batch, *new_space, filters)` or `(batch, filters, *new_space)`. Weights: `kernel`
    `(*kernel_size, channels, 4 * filters)`, `recurrent_kernel`
    `(*kernel_size, filters, 4 * filters)` and `bias` `(4 * filters,)`, the blocks i, f, g, o;
    `peephole_kernel`, three frames like the state, i, f, o.

    Raises:
        ConfigurationError: if an argument is out of range.
        StructureError: if the inputs of a step are not frames of a known size, or do not fit.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("conv_lstm", 4, kernel_size=3, padding="same")
    >>> tuple(layer(np.ones((2, 5, 8, 8, 3), "float32")).shape)
    (2, 8, 8, 4)
    >>> layer = kcells.build("conv_lstm", 4, kernel_size=3, strides=2)
    >>> tuple(layer(np.ones((2, 5, 20, 3), "float32")).shape)
    (2, 9, 4)
    """

    blocks = 4
    state_count = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        peepholes: bool = False,
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.peepholes = peepholes
        self.unit_forget_bias = unit_forget_bias

    def add_weights(self, channels: int) -> None:
        """Makes the kernels, the bias, and the peepholes if there are any."""
        super().add_weights(channels)
        self.peephole_kernel: Any = None
        if self.peepholes:
            self.peephole_kernel = self.add("peephole_kernel", (3, *self.frame), "recurrent")

    def add(
        self, name: str, shape: tuple[int, ...], part: str | None = None, initializer: Any = None
    ) -> Any:
        """A weight; the bias has ones for `f` where it is asked to."""
        if name == "bias" and self.unit_forget_bias:
            initializer = self._first_bias
        return super().add(name, shape, part, initializer)

    def _first_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        i, f, g, o = ops.split(self.bias_initializer(shape, dtype=dtype), 4)
        return ops.concatenate([i, ops.ones_like(f), g, o])

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = self.convolved(self.dropped(h, training), self.recurrent_kernel)
        i, f, g, o = self.split(projected + products, 4)
        if self.peephole_kernel is not None:
            i, f = i + self.peephole_kernel[0] * c, f + self.peephole_kernel[1] * c
        i, f = self.recurrent_activation(i), self.recurrent_activation(f)
        c = f * c + i * self.activation(g)
        if self.peephole_kernel is not None:
            o = o + self.peephole_kernel[2] * c
        h = self.recurrent_activation(o) * self.activation(c)
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        first = {"data_format": "channels_first", "padding": "same", "peepholes": True}
        return Card(
            [
                Case({"filters": 2, "kernel_size": 2, "strides": 2}, (5, 2), "a line"),
                Case({"filters": 2, "kernel_size": (2, 3), **first}, (2, 3, 4), "channels first"),
                Case({"filters": 2, "kernel_size": 2, "use_bias": False}, (3, 2, 2, 1), "a volume"),
            ],
            others={
                "kernel_size": (3, 2),
                "padding": "same",
                "data_format": "channels_first",
                "strides": 1,
                "dilation_rate": 2,
            },
            arguments=on_a_line,
            inputs=line,
            gates="input, forget, output",
            also_in="Keras",
            note="frames of width W, kernel_size = 3",
            workload=Workload(divisor=4),
            learning=LEARNING,
        )
