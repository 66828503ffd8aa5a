"""The Legendre memory unit: a window of the past as coefficients of polynomials."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import activations, ops

from kcells import Card, Case, Place, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_modern.initial import drawn

__all__ = ["LMUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class LMUCell(StandardCell):
    """A vanilla RNN beside a memory that holds a sliding window of one signal.

        u_t = e_x x_t + e_h h_{t-1} + e_m m_{t-1}
        m_t = A m_{t-1} + B u_t
        h_t = activation(W_x x_t + W_h h_{t-1} + W_m m_t)

    `u` is one number a step. `A` and `B` are not trained. They are those of

        theta m'(t) = A' m(t) + B' u(t)

        A'_ij = (2 i + 1) * (-1 if i < j else (-1)^(i - j + 1))
        B'_i = (2 i + 1) * (-1)^i

    for `u` that is constant over a step (zero-order hold). `m` are then the coefficients of the
    last `theta` steps of `u` in the first `order` Legendre polynomials `P_i`, shifted to the
    window: `u(t - s)` is about the sum of `P_i(2 s / theta - 1) m_i(t)`.

    Paper: Voelker, Kajic and Eliasmith 2019, "Legendre Memory Units: Continuous-Time
    Representation in Recurrent Neural Networks", NeurIPS 2019.

    Differences: none in the equations. The weights start as in the paper: `e_x` and `e_h` as
    LeCun's uniform, `e_m` at zero, the matrices as Glorot's normal. As in the paper there is one
    memory, and no bias unless `use_bias=True`, which adds one to `h`.

    Args:
        units: the size of `h`, a positive int.
        order: the size of `m`, a positive int.
        theta: the length of the window in steps, a positive float.
        activation: for `h`. Default: `"tanh"`.
        use_bias: whether there is a bias. Default: False.
        kernel_initializer: for `W_x`. Default: `"glorot_normal"`.
        recurrent_initializer: for `W_h` and `W_m`. Default: `"glorot_normal"`.
        encoder_initializer: for `e_x` and `e_h`. Default: `"lecun_uniform"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, m]`; `h` and the output, which is `h`,
    `(batch, units)`; `m` `(batch, order)`. Weights: `kernel` `(features, units)`,
    `recurrent_kernel` `(units, units)`, `recurrent_kernel_memory` `(order, units)`, `bias`
    `(units,)`; `encoder_inputs` `(features, 1)`, `encoder_state` `(units, 1)`, `encoder_memory`
    `(order, 1)`.

    Raises:
        ConfigurationError: if `units`, `order`, `theta` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("lmu", 4, order=6, theta=20.0, return_state=True)
    >>> [tuple(one.shape) for one in layer(np.ones((2, 5, 3), "float32"))]
    [(2, 4), (2, 4), (2, 6)]
    """

    def __init__(
        self,
        units: int,
        order: int,
        theta: float,
        activation: Any = "tanh",
        use_bias: bool = False,
        kernel_initializer: Any = "glorot_normal",
        recurrent_initializer: Any = "glorot_normal",
        encoder_initializer: Any = "lecun_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            **kwargs,
        )
        if not isinstance(theta, (int, float)) or not 0 < theta < float("inf"):
            raise ConfigurationError(
                f"LMUCell: theta must be a positive float; received {theta!r}."
            )
        self.order = self.positive("order", order)
        self.theta = theta
        self.activation = activations.get(activation)
        self.encoder_initializer = keras.initializers.get(encoder_initializer)
        self.state_size = [units, order]
        self._constants = _discrete(*_continuous(order, theta))

    def add_weights(self, features: int) -> None:
        """Makes the matrices, the bias and the encoders."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.recurrent_kernel_memory = self.add("recurrent_kernel_memory", (self.order, self.units))
        self.bias = self.add("bias", (self.units,))
        self.encoder_inputs = self._encoder("encoder_inputs", features, self._encoder_start)
        self.encoder_state = self._encoder("encoder_state", self.units, self._encoder_start)
        self.encoder_memory = self._encoder("encoder_memory", self.order, "zeros")

    def _encoder(self, name: str, size: int, initializer: Any) -> Any:
        return self.add_weight(shape=(size, 1), name=name, initializer=initializer)

    def _encoder_start(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return drawn(self.encoder_initializer, shape, dtype)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`W_x x` and `e_x x`, `(..., units)` and `(..., 1)`."""
        inputs = self.input_dropout.drop(inputs, training)
        of_state = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            of_state = of_state + self.bias
        return [of_state, ops.matmul(inputs, self.encoder_inputs)]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, m]`."""
        of_state, signal = projected
        h, m = states
        seen = self.dropped(h, training)
        signal = signal + ops.matmul(seen, self.encoder_state) + ops.matmul(m, self.encoder_memory)
        a, b = (ops.convert_to_tensor(one, dtype=self.compute_dtype) for one in self._constants)
        m = ops.matmul(m, a) + signal * b
        sums = of_state + ops.matmul(seen, self.recurrent_kernel)
        h = self.activation(sums + ops.matmul(m, self.recurrent_kernel_memory))
        return h, [h, m]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        arguments = {"units": 4, "order": 3, "theta": 5.0}
        return Card(
            [Case(arguments, name="default"), Case({**arguments, "use_bias": True}, name="bias")],
            others={"order": 5, "theta": 7.0},
            arguments=_remembering_all,
            gates="",
            also_in="keras-lmu",
            note="order = U",
        )


def _continuous(order: int, theta: float) -> tuple[Any, Any]:
    """`A' / theta` and `B' / theta`."""
    i, j = np.arange(order)[:, None], np.arange(order)[None, :]
    a = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    b = (2 * i[:, 0] + 1) * (-1.0) ** i[:, 0]
    return a / theta, b / theta


def _discrete(a: Any, b: Any) -> tuple[Any, Any]:
    """What a step of length one makes of them, for rows: the transpose of `A`, and `B`.

    The exponential of the block matrix of both has them as its blocks.
    """
    order = len(b)
    block = np.zeros((order + 1, order + 1))
    block[:order, :order], block[:order, order] = a, b
    exponential = _exponential(block)
    return exponential[:order, :order].T, exponential[:order, order]


def _exponential(matrix: Any) -> Any:
    """The exponential: a series for a small part of the matrix, squared until it is the whole."""
    halvings = max(0, int(np.ceil(np.log2(np.abs(matrix).sum(axis=1).max()))) + 1)
    small = matrix / 2.0**halvings
    result = term = np.eye(len(matrix))
    for k in range(1, 19):
        term = term @ small / k
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result


def _remembering_all(at: Place) -> dict[str, Any]:
    """A memory of as many numbers as the state has, for all of a sequence."""
    return {"units": at.units, "order": at.units, "theta": float(at.length or 100)}
