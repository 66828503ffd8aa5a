"""The FastRNN: a vanilla RNN with a weighted residual connection."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["FastRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class FastRNNCell(StandardCell):
    """A vanilla RNN with a residual connection, both weighted by trained numbers.

        g_t = activation(W x_t + U h_{t-1} + b)
        h_t = sigmoid(alpha) * g_t + sigmoid(beta) * h_{t-1}

    `alpha` and `beta` are one number each. They start where the state moves little in a step, so
    that the gradient neither fades nor blows up.

    Paper: Kusupati, Singh, Bhatia, Kumar, Jain and Varma 2018, "FastGRNN: A Fast, Accurate,
    Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network", arXiv:1901.02358.

    Differences: none in the equations; the sigmoid is how the authors' code keeps the two between
    0 and 1, and -3 and 3 are where it starts them. torchrecurrent starts them the other way
    round, at 3 and -3, against the paper's `alpha` far below `beta`. Kernel and bias start as in
    Keras' own cells; the authors' code draws matrices with a deviation of 0.1 and begins biases
    at 1.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        alpha: where `alpha` starts, a float. Default: -3.
        beta: where `beta` starts, a float. Default: 3.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel`
    `(units, units)`, `bias` `(units,)`, and `alpha` and `beta`, `(1,)` each.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("fast_rnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[2:]}
    {'bias': (4,), 'alpha': (1,), 'beta': (1,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        alpha: float = -3.0,
        beta: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.alpha = alpha
        self.beta = beta

    def add_weights(self, features: int) -> None:
        """Makes the matrices, the bias and the two numbers."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))
        self.new_share = self._number("alpha", self.alpha)
        self.old_share = self._number("beta", self.beta)

    def _number(self, name: str, start: float) -> Any:
        return self.add_weight(shape=(1,), name=name, initializer=initializers.Constant(start))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        candidate = self.activation(projected + products)
        h = ops.sigmoid(self.new_share) * candidate + ops.sigmoid(self.old_share) * h
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            others={"alpha": 0.5, "beta": 0.5},
            gates="",
            also_in="torchrecurrent",
        )
