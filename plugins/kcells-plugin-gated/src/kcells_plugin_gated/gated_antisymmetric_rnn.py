"""The antisymmetric RNN with a gate that chooses how far it moves."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["GatedAntisymmetricRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class GatedAntisymmetricRNNCell(StandardCell):
    """An antisymmetric RNN whose steps a gate makes smaller.

        a_t = (W - W^T - gamma * I) h_{t-1}
        z_t = recurrent_activation(a_t + V_z x_t + b_z)
        g_t = activation(a_t + V_h x_t + b_h)
        h_t = h_{t-1} + epsilon * z_t * g_t

    Gate and candidate see the state through one matrix, so that the antisymmetry of the whole is
    kept.

    Paper: Chang, Chen, Haber and Chi 2019, "AntisymmetricRNN: A Dynamical System View on
    Recurrent Neural Networks", arXiv:1902.09689, section 4.

    Differences: none in the equations. The paper chooses `epsilon` from 0.01, 0.1 and 1, `gamma`
    and the scale of the recurrent matrix anew for each task; its weights start normal with
    variances of one over the number of inputs, and here those normals are truncated.
    torchrecurrent and RecurrentLayers.jl start from `epsilon=1` and `gamma=0`, and add a second
    bias to the candidate alone.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        epsilon: the step in time, a float. Default: 0.1.
        gamma: the strength of the diffusion, a float. Default: 0.01.
        kernel_initializer: for `kernel`. Default: `"lecun_normal"`.
        recurrent_initializer: for `recurrent_kernel`. Default: `"lecun_normal"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)` and `bias` `(2 * units,)`, the
    blocks z, h; `recurrent_kernel` `(units, units)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("gated_antisymmetric_rnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 4), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
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
        self.recurrent_activation = activations.get(recurrent_activation)
        self.epsilon = epsilon
        self.gamma = gamma

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        gate, candidate = ops.split(projected, 2, axis=-1)
        seen = self.dropped(h, training)
        matrix = self.recurrent_kernel - ops.transpose(self.recurrent_kernel)
        moved = ops.matmul(seen, matrix) - self.gamma * seen
        z = self.recurrent_activation(gate + moved)
        h = h + self.epsilon * z * self.activation(candidate + moved)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="input",
            also_in="torchrecurrent",
            others={"epsilon": 0.5, "gamma": 0.3},
        )
