"""The recurrent highway network: several highway layers within a time step."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_modern.initial import drawn

__all__ = ["RHNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class RHNCell(StandardCell):
    """A vanilla RNN whose step is a highway network of `depth` layers.

        s_0 = h_{t-1}, and for l from 1 to depth:

        g_l = activation(W_h x_t [l = 1] + R_h,l s_{l-1} + b_h,l)
        r_l = sigmoid(W_r x_t [l = 1] + R_r,l s_{l-1} + b_r,l)
        c_l = sigmoid(W_c x_t [l = 1] + R_c,l s_{l-1} + b_c,l)
        s_l = g_l * r_l + s_{l-1} * c_l

        h_t = s_depth

    The inputs enter at the first layer alone. With `coupled=True` there is no `c` of its own:
    `c_l = 1 - r_l`.

    Paper: Zilly, Srivastava, Koutnik and Schmidhuber 2017, "Recurrent Highway Networks",
    arXiv:1607.03474, where `r` is called `t`.

    Differences: none in the equations. The biases of `r` start below zero, so that a layer
    carries its state on at first, as in the paper, which has values from -2 to -4. The other
    weights start as in Keras' own cells.

    Args:
        units: the size of the state, a positive int.
        depth: the number of layers in a step, a positive int. Default: 3. The paper's best
            models have 10.
        activation: for `g`. Default: `"tanh"`.
        coupled: whether what is carried is what is not transformed. Default: True.
        transform_bias: where the biases of `r` start, a float; None for where
            `bias_initializer` says. Default: -2.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, width)`, and for each layer
    `recurrent_kernel_<l>` `(units, width)` and `bias_<l>` `(width,)`, the blocks h, r, c. The
    width is `2 * units` in the coupled form, which has no c, and `3 * units` otherwise.

    Raises:
        ConfigurationError: if `units`, `depth` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("rhn", 4, depth=2)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> [weight.name for weight in layer.weights]
    ['kernel', 'recurrent_kernel_1', 'bias_1', 'recurrent_kernel_2', 'bias_2']
    """

    def __init__(
        self,
        units: int,
        depth: int = 3,
        activation: Any = "tanh",
        coupled: bool = True,
        transform_bias: float | None = -2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.depth = self.positive("depth", depth)
        self.activation = activations.get(activation)
        self.coupled = coupled
        self.transform_bias = transform_bias

    def add_weights(self, features: int) -> None:
        """Makes the kernel, and a matrix and a bias for each layer."""
        blocks = 2 if self.coupled else 3
        width = blocks * self.units
        start = None if self.transform_bias is None else self._start
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernels, self.biases = [], []
        for layer in range(1, self.depth + 1):
            self.recurrent_kernels.append(
                self.add(f"recurrent_kernel_{layer}", (self.units, width))
            )
            self.biases.append(self.add(f"bias_{layer}", (width,), initializer=start))
        self.bias = self.biases[0]

    def _start(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """A bias whose block r is `transform_bias`."""
        blocks = ops.split(drawn(self.bias_initializer, shape, dtype), shape[0] // self.units)
        blocks[1] = ops.full_like(blocks[1], self.transform_bias)
        return ops.concatenate(blocks)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        for layer, (matrix, bias) in enumerate(
            zip(self.recurrent_kernels, self.biases, strict=True)
        ):
            sums = ops.matmul(self.dropped(h, training), matrix)
            if layer == 0:
                sums = sums + projected
            elif bias is not None:
                sums = sums + bias
            candidate, *gates = ops.split(sums, 2 if self.coupled else 3, axis=-1)
            share = ops.sigmoid(gates[0])
            carried = 1 - share if self.coupled else ops.sigmoid(gates[1])
            h = self.activation(candidate) * share + h * carried
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4, "depth": 2}, name="coupled"),
                Case({"units": 4, "depth": 2, "coupled": False}, name="apart"),
                Case({"units": 4, "depth": 1, "use_bias": False}, name="one layer"),
            ],
            others={"depth": 3, "transform_bias": -1.0},
            gates="transform, carry",
        )
