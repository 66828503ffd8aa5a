"""The cell that was found by neural architecture search."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["NASCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class NASCell(StandardCell):
    """The recurrent cell that a neural architecture search found for language models.

        x^k_t = W_k x_t
        m^k_t = U_k h_{t-1} + b_k        k = 0, ..., 7

        a^k_t = sigmoid(x^k_t + m^k_t)   k = 0, 2, 5, 7
        a^1_t = relu(x^1_t + m^1_t)
        a^3_t = relu(x^3_t * m^3_t)
        a^k_t = tanh(x^k_t + m^k_t)      k = 4, 6

        s_t = tanh(tanh(a^0_t * a^1_t) + c_{t-1})
        c_t = s_t * tanh(a^2_t + a^3_t)
        v_t = tanh(tanh(a^4_t * a^5_t) + sigmoid(a^6_t + a^7_t))

        h_t = V tanh(c_t * v_t)

    Without `projection` there is no `V`.

    Paper: Zoph and Le 2016, "Neural Architecture Search with Reinforcement Learning",
    arXiv:1611.01578, the picture of the cell in the appendix; what the picture leaves open
    is as in `NASCell` of `tf.contrib.rnn`, and of TensorFlow Addons after it: a bias on the
    side of the state, which is off by default, and the projection.

    Differences: none from these. torchrecurrent adds where `a^3` multiplies.

    Args:
        units: the size of `c`, a positive int.
        projection: the size of `h`, a positive int; None for no projection. Default: None.
        use_bias: whether there are biases. Default: False.
        **kwargs: the other arguments of `kcells.StandardCell`. Those that begin with
            `recurrent_` are for `recurrent_kernel` and `projection_kernel`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `c` `(batch, units)`; `h` and the
    output, which is `h`, `(batch, projection)`. Weights: `kernel` `(features, 8 * units)`,
    `recurrent_kernel` `(projection, 8 * units)` and `bias` `(8 * units,)`, the blocks in
    the order of k; `projection_kernel` `(units, projection)`.

    Raises:
        ConfigurationError: if `units`, `projection` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("nas", 8, projection=3, return_state=True)
    >>> output, h, c = layer(np.ones((2, 5, 4), "float32"))
    >>> tuple(output.shape), tuple(h.shape), tuple(c.shape)
    ((2, 3), (2, 3), (2, 8))
    """

    def __init__(
        self, units: int, projection: int | None = None, use_bias: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.projection = None if projection is None else self.positive("projection", projection)
        self.output_size = units if projection is None else projection
        self.state_size = [self.output_size, units]

    @property
    def dropped_size(self) -> int:
        """The size of `h`."""
        return int(self.output_size)

    def add_weights(self, features: int) -> None:
        """Creates the matrices, and `bias` if there is one."""
        width, size = 8 * self.units, self.dropped_size
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (size, width))
        self.bias = self.add("bias", (width,))
        self.projection_kernel: Any = None
        if self.projection is not None:
            shape = (self.units, self.projection)
            self.projection_kernel = self.add("projection_kernel", shape, "recurrent")

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x`, `(..., 8 * units)`: the bias is on the side of the state."""
        return ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        if self.bias is not None:
            products = products + self.bias
        x, m = ops.split(projected, 8, axis=-1), ops.split(products, 8, axis=-1)
        a = [left + right for left, right in zip(x, m, strict=True)]
        a[3] = x[3] * m[3]
        stored = ops.tanh(ops.tanh(ops.sigmoid(a[0]) * ops.relu(a[1])) + c)
        c = stored * ops.tanh(ops.sigmoid(a[2]) + ops.relu(a[3]))
        shown = ops.tanh(ops.tanh(a[4]) * ops.sigmoid(a[5]))
        shown = shown + ops.sigmoid(ops.tanh(a[6]) + ops.sigmoid(a[7]))
        h = ops.tanh(c * ops.tanh(shown))
        if self.projection_kernel is not None:
            h = ops.matmul(h, self.projection_kernel)
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "projection": 2, "use_bias": True}, name="projection and biases"),
            ],
            others={"projection": 2},
            gates="four of eight sums",
            also_in="torchrecurrent",
        )
