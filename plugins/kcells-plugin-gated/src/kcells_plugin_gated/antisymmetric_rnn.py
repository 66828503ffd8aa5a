"""The antisymmetric RNN: a step of an equation whose solutions neither grow nor die."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["AntisymmetricRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class AntisymmetricRNNCell(StandardCell):
    """An RNN that moves its state by small steps, by a matrix without a symmetric part.

        h_t = h_{t-1} + epsilon * activation((W - W^T - gamma * I) h_{t-1} + V x_t + b)

    The eigenvalues of `W - W^T` are imaginary: the differential equation that this discretizes
    is stable, and its solutions do not fade. The diffusion `gamma` makes up for what the step in
    time does to that.

    Paper: Chang, Chen, Haber and Chi 2019, "AntisymmetricRNN: A Dynamical System View on
    Recurrent Neural Networks", arXiv:1902.09689.

    Differences: none in the equations. The paper chooses `epsilon` from 0.01, 0.1 and 1, `gamma`
    and the scale of the recurrent matrix anew for each task; its weights start normal with
    variances of one over the number of inputs, and here those normals are truncated.
    torchrecurrent and RecurrentLayers.jl start from `epsilon=1` and `gamma=0`, and have a second
    bias for the state, which adds to the first.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        epsilon: the step in time, a float. Default: 0.1.
        gamma: the strength of the diffusion, a float. Default: 0.01.
        kernel_initializer: for `kernel`. Default: `"lecun_normal"`.
        recurrent_initializer: for `recurrent_kernel`. Default: `"lecun_normal"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel` `(units, units)`
    and `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("antisymmetric_rnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4, 4), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        epsilon: float = 0.1,
        gamma: float = 0.01,
        kernel_initializer: Any = "lecun_normal",
        recurrent_initializer: Any = "lecun_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            **kwargs,
        )
        self.activation = activations.get(activation)
        self.epsilon = epsilon
        self.gamma = gamma

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        matrix = self.recurrent_kernel - ops.transpose(self.recurrent_kernel)
        h = h + self.epsilon * self.activation(
            projected + ops.matmul(seen, matrix) - self.gamma * seen
        )
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="",
            also_in="torchrecurrent",
            others={"epsilon": 0.5, "gamma": 0.3},
        )
