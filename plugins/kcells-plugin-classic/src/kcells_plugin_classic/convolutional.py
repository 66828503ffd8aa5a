"""What the convolutional cells share: their arguments, their frames, and their convolutions.

A frame has one, two or three axes of space, and one of channels. How many and how long they are
is known when the cell is built, and so are the states, which are frames too.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Learning, Place, WeightsCell
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Structure, Tensor

__all__ = ["LEARNING", "ConvolutionalCell", "line", "on_a_line"]


class ConvolutionalCell(WeightsCell):
    """Base class for cells on frames, with the arguments of Keras' convolutional LSTMs.

    A subclass sets `blocks`, how many kernels stand beside each other, and `state_count`; and it
    overrides `step`. `project_inputs` is there: `W * x + b`, where `*` is a convolution. Once the
    cell is built, `rank` is the number of axes of space, and `frame` the shape of each state.

    Args:
        filters: the number of channels of the state, a positive int.
        kernel_size: the size of the kernels, an int, or a tuple with one for each axis of space.
        strides: how far the kernel of the inputs moves, like `kernel_size`. Default: 1.
        padding: `"valid"`, or `"same"` to put zeros around the inputs, so that the state is as
            large as they are. Around the state there always are. Default: `"valid"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for what Keras is set to.
            Default: None.
        dilation_rate: how far the entries of the kernel of the inputs are apart, like
            `kernel_size`. Default: 1.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        use_bias: whether there are biases. Default: True.
        kernel_initializer: for the kernel of the inputs. Default: `"glorot_uniform"`.
        recurrent_initializer: for weights that act on the state. Default: `"orthogonal"`.
        bias_initializer: for biases; None for zeros. Default: `"zeros"`.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: for the weights that the
            initializers of these names are for. Default: None.
        kernel_constraint, recurrent_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step. Default: 0.
        recurrent_dropout: the same for the state where it meets a kernel. Default: 0.
        seed: an int for the dropout masks, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: inputs `(batch, *space, channels)`, or `(batch, channels, *space)`; states
    `(batch, *new_space, filters)`, or `(batch, filters, *new_space)`.

    Raises:
        ConfigurationError: if an argument is out of range.
        StructureError: if the inputs of a step are not frames of a known size, or do not fit.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_classic import ConvolutionalCell
    >>> class ConvRNNCell(ConvolutionalCell):
    ...     def step(self, projected, states, training=False):
    ...         h = self.dropped(states[0], training)
    ...         h = self.activation(projected + self.convolved(h, self.recurrent_kernel))
    ...         return h, [h]
    >>> layer = kcells.RNN(ConvRNNCell(filters=2, kernel_size=3))
    >>> tuple(layer(np.ones((2, 5, 8, 8, 1), "float32")).shape)
    (2, 6, 6, 2)
    """

    blocks = 1
    state_count = 1

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        self.filters = self.positive("filters", filters)
        self.kernel_size = self._extent("kernel_size", kernel_size)
        self.strides = self._extent("strides", strides)
        self.dilation_rate = self._extent("dilation_rate", dilation_rate)
        if _largest(self.strides) > 1 and _largest(self.dilation_rate) > 1:
            raise ConfigurationError(
                f"{type(self).__name__}: a kernel cannot both move by more than one and have"
                f" entries apart; received strides={strides!r}, dilation_rate={dilation_rate!r}."
            )
        self.padding = self._one_of("padding", padding, "valid", "same")
        self.data_format = self._one_of(
            "data_format",
            keras.config.image_data_format() if data_format is None else data_format,
            *("channels_last", "channels_first"),
        )
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.keep_part(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        # Keras would draw biases for None, as it does kernels.
        self.keep_part("bias", bias_initializer or "zeros", bias_regularizer, bias_constraint)
        self.drop_states(recurrent_dropout)
        self.frame: tuple[int, ...] = ()

    # -- Arguments

    def _out_of_range(self, name: str, wanted: str, value: Any) -> ConfigurationError:
        return ConfigurationError(
            f"{type(self).__name__}: {name} must be {wanted}; received {value!r}."
        )

    def _extent(self, name: str, value: Any) -> int | tuple[int, ...]:
        """A positive int, or a tuple of some; a file has a list of them."""
        each = value if isinstance(value, (list, tuple)) and value else (value,)
        if not all(map(_is_positive, each)):
            raise self._out_of_range(name, "a positive int, or a tuple of these", value)
        return tuple(value) if isinstance(value, (list, tuple)) else int(value)

    def _one_of(self, name: str, value: Any, *known: str) -> str:
        if value not in known:
            raise self._out_of_range(name, " or ".join(f'"{one}"' for one in known), value)
        return str(value)

    # -- Building

    @property
    def state_size(self) -> Any:
        """The shape of each state; None until the cell is built."""
        return [self.frame] * self.state_count if self.frame else None

    @state_size.setter
    def state_size(self, value: Any) -> None:
        raise AttributeError(f"state_size of {type(self).__name__} follows from its inputs.")

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, *space, channels)`."""
        is_shape = isinstance(input_shape, (tuple, list)) and 3 <= len(input_shape) <= 5
        if not is_shape or not all(isinstance(size, int) for size in input_shape[1:]):
            order = "*space, channels" if self._is_last else "channels, *space"
            raise StructureError(
                f"{type(self).__name__}: the inputs of a step must be one tensor of (batch,"
                f" {order}), with one, two or three axes of space, and sizes that are known;"
                f" received the shape {input_shape!r}."
            )
        self.rank, self._given = len(input_shape) - 2, tuple(input_shape[1:])
        space = tuple(input_shape[1:-1] if self._is_last else input_shape[2:])
        channels = input_shape[-1 if self._is_last else 1]
        new_space = self._new_space(space)
        self.frame = (*new_space, self.filters) if self._is_last else (self.filters, *new_space)
        self.bias: Any = None
        self.add_weights(channels)
        self.input_dropout.build((None, *input_shape[1:]))
        self.state_dropout.build((None, *self.frame))

    def add_weights(self, channels: int) -> None:
        """Makes `kernel`, `recurrent_kernel` and `bias`."""
        size, width = self._each("kernel_size"), self.blocks * self.filters
        self.kernel = self.add("kernel", (*size, channels, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (*size, self.filters, width))
        self.bias = self.add("bias", (width,))

    @property
    def _is_last(self) -> bool:
        return self.data_format == "channels_last"

    def _each(self, name: str) -> tuple[int, ...]:
        """An argument for each axis of space."""
        value = getattr(self, name)
        each = value if isinstance(value, tuple) else (value,) * self.rank
        if len(each) != self.rank:
            raise StructureError(
                f"{type(self).__name__}: {name}={value!r} is for frames with {len(each)} axes of"
                f" space; received frames with {self.rank}."
            )
        return each

    def _new_space(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """How large the frames are that the kernel of the inputs gives."""
        names = ("kernel_size", "strides", "dilation_rate")
        axes = zip(space, *map(self._each, names), strict=True)
        sizes = tuple(
            -(-(size if self.padding == "same" else size - (kernel - 1) * apart) // stride)
            for size, kernel, stride, apart in axes
        )
        if min(sizes) < 1:
            raise StructureError(
                f"{type(self).__name__}: the kernel is larger than a frame; received frames of"
                f" {space!r}, with kernel_size={self.kernel_size!r}, dilation_rate="
                f'{self.dilation_rate!r}.\n  Pass a smaller kernel, or padding="same".'
            )
        return sizes

    # -- What a step is made of

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W * x + b`, frames of `blocks * filters` channels."""
        self._check(tuple(inputs.shape)[-1 - self.rank :])
        inputs = ops.cast(self.input_dropout.drop(inputs, training), self.compute_dtype)
        how = self._each("strides"), self.padding, self._each("dilation_rate")
        products = self._convolved(inputs, self.kernel, *how)
        if self.bias is None:
            return products
        ones = () if self._is_last else (1,) * self.rank
        return products + ops.reshape(self.bias, (-1, *ones))

    def _check(self, frame: tuple[int | None, ...]) -> None:
        """Frames of another size could meet the states all the same, if only by repetition."""
        pairs = zip(frame, self._given, strict=False)
        if len(frame) != self.rank + 1 or any(size not in (None, built) for size, built in pairs):
            raise StructureError(
                f"{type(self).__name__}: received frames of {frame!r}, but the cell was built for"
                f" {self._given!r}.\n  Resize the frames, or make another cell for these."
            )

    def convolved(self, state: Tensor, kernel: Tensor) -> Tensor:
        """`kernel * state`, with zeros around the state."""
        return self._convolved(state, kernel, (1,) * self.rank, "same", (1,) * self.rank)

    def split(self, frames: Tensor, parts: int) -> list[Tensor]:
        """Frames with a part of the channels each."""
        axis = -1 if self._is_last else -1 - self.rank
        return list(ops.split(frames, parts, axis=axis))

    def _convolved(
        self, frames: Tensor, kernel: Tensor, strides: Any, padding: str, dilation_rate: Any
    ) -> Tensor:
        """A convolution of frames, which may have a time axis in front of the batch."""
        shape = ops.shape(frames)
        leading, frame = shape[: -1 - self.rank], shape[-1 - self.rank :]
        if len(leading) > 1:
            frames = ops.reshape(frames, (-1, *frame))
        # TensorFlow cannot convolve frames with channels in front on every processor.
        frames = frames if self._is_last else ops.moveaxis(frames, 1, -1)
        result = ops.conv(frames, kernel, strides, padding, "channels_last", dilation_rate)
        result = result if self._is_last else ops.moveaxis(result, -1, 1)
        return ops.reshape(result, (*leading, *result.shape[1:])) if len(leading) > 1 else result


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _largest(extent: int | tuple[int, ...]) -> int:
    return max(extent) if isinstance(extent, tuple) else extent


def on_a_line(at: Place) -> dict[str, Any]:
    """What the cells are made with for frames of one axis."""
    return {"filters": at.units, "kernel_size": 3, "padding": "same"}


def line(at: Place) -> tuple[int, int]:
    """A frame of one axis, with the features as channels."""
    return (16, at.features)


LEARNING = Learning(adapt=lambda row: row[..., None], problems=("rows",))
"""Each step is a frame of one axis, with one channel."""
