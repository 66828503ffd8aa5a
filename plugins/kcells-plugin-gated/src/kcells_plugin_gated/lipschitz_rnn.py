"""The Lipschitz RNN: a linear part and a tanh, whose matrices are kept near to stability."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.types import Tensor

__all__ = ["LipschitzRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class LipschitzRNNCell(StandardCell):
    """An RNN that moves by small steps, whose matrices are mostly skew-symmetric.

        A = (1 - beta) * (M + M^T) + beta * (M - M^T) - gamma * I
        B = (1 - beta) * (N + N^T) + beta * (N - N^T) - gamma * I
        h_t = h_{t-1} + epsilon * (A h_{t-1} + activation(B h_{t-1} + W x_t + b))

    With `beta=1` the matrices have no symmetric part but the diffusion `gamma`, and with 1/2
    they are any.

    Paper: Erichson, Azencot, Queiruga, Hodgkinson and Mahoney 2021, "Lipschitz Recurrent Neural
    Networks", arXiv:2006.12070, with Euler's method.

    Differences: `beta` and `gamma` are the same for both matrices, as in the authors' code,
    whose defaults are those here; the paper chooses them and the step for each task, and has a
    method of second order too. Weights start as in Keras' own cells, where that code draws `M`
    and `N` from normal distributions.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        epsilon: the step in time, a float. Default: 0.01.
        beta: the share of the skew-symmetric part, a float. Default: 0.8.
        gamma: the strength of the diffusion, a float. Default: 0.01.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `recurrent_kernel` and
    `recurrent_kernel_linear` `(units, units)`, which are `N` and `M`; `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("lipschitz_rnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> for weight in layer.weights:
    ...     print(weight.name, tuple(weight.shape))
    kernel (3, 4)
        recurrent_kernel (4, 4)
        recurrent_kernel_linear (4, 4)
        bias (4,)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        epsilon: float = 0.01,
        beta: float = 0.8,
        gamma: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.epsilon = epsilon
        self.beta = beta
        self.gamma = gamma

    def add_weights(self, features: int) -> None:
        """Makes the four weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.recurrent_kernel_linear = self.add("recurrent_kernel_linear", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        force = self.activation(projected + self._product(seen, self.recurrent_kernel))
        h = h + self.epsilon * (self._product(seen, self.recurrent_kernel_linear) + force)
        return h, [h]

    def _product(self, h: Tensor, matrix: Tensor) -> Tensor:
        """`h` times the matrix with its two parts weighted, and less the diffusion."""
        transposed = (1 - 2 * self.beta) * ops.transpose(matrix)
        return ops.matmul(h, matrix + transposed) - self.gamma * h

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="",
            also_in="",
            others={"epsilon": 0.1, "beta": 0.6, "gamma": 0.3},
            learning=Learning(lambda at: {"epsilon": 0.1}),
        )
