"""The GRU with a time delay: it sees the state of some steps ago too."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["TauGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class TauGRUCell(StandardCell):
    """A GRU one of whose two candidates sees the state of `delay` steps ago.

        u_t = activation(W_u x_t + U_u h_{t-1} + b_u)
        z_t = activation(W_z x_t + U_z h_{t-1-delay} + b_z)
        g_t = dt * recurrent_activation(W_g x_t + U_g h_{t-1} + b_g)
        a_t = recurrent_activation(W_a x_t + U_a h_{t-1} + b_a)
        h_t = (1 - g_t) * h_{t-1} + g_t * (beta * u_t + alpha * a_t * z_t)

    The discretization of an equation with delayed feedback, which shortens the way of a gradient
    through time.

    Paper: Erichson, Lim and Mahoney 2022, "Gated Recurrent Neural Networks with Weighted
    Time-Delay Feedback", arXiv:2212.00228.

    Differences: none in the equations; the paper chooses the delay for each task. The states
    hold what is needed of the past, and a masked step is no step of it. Weights start as in
    Keras' own cells. torchrecurrent computes the same with `dt`, `alpha` and `beta` of one and
    second biases, and has a delay of 1 by default; its layer keeps the past, and its cell is
    given it.

    Args:
        units: the size of the state, a positive int.
        delay: how many steps before the last one the delayed state is from, a positive int.
            Default: 10.
        dt: the longest step in time, a float. Default: 1.
        alpha: the weight of the delayed candidate, a float. Default: 1.
        beta: the weight of the other one, a float. Default: 1.
        activation: for the candidates. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, past]`; `h` and the output, which is `h`,
    `(batch, units)`; `past`, the states before `h`, the oldest first, `(batch, delay, units)`.
    Weights: `kernel` `(features, 4 * units)` and `bias` `(4 * units,)`, the blocks u, g, a, z;
    `recurrent_kernel` `(units, 3 * units)`, the blocks u, g, a; `recurrent_kernel_delayed`
    `(units, units)`.

    Raises:
        ConfigurationError: if `units`, `delay` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("tau_gru", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> for weight in layer.weights:
    ...     print(weight.name, tuple(weight.shape))
    kernel (3, 16)
        recurrent_kernel (4, 12)
        recurrent_kernel_delayed (4, 4)
        bias (16,)
    """

    def __init__(
        self,
        units: int,
        delay: int = 10,
        dt: float = 1.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.delay = self.positive("delay", delay)
        self.dt = dt
        self.alpha = alpha
        self.beta = beta
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.state_size = [units, (delay, units)]

    def add_weights(self, features: int) -> None:
        """Makes the four weights."""
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 3 * self.units))
        self.recurrent_kernel_delayed = self.add(
            "recurrent_kernel_delayed", (self.units, self.units)
        )
        self.bias = self.add("bias", (4 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, past]`."""
        h, past = states
        now, delayed = ops.split(projected, [3 * self.units], axis=-1)
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        u, g, a = ops.split(now + products, 3, axis=-1)
        oldest = self.dropped(past[:, 0], training)
        delayed = delayed + ops.matmul(oldest, self.recurrent_kernel_delayed)
        g, a = self.dt * self.recurrent_activation(g), self.recurrent_activation(a)
        moved = self.beta * self.activation(u) + self.alpha * a * self.activation(delayed)
        past = ops.concatenate([past[:, 1:], h[:, None]], axis=1)
        h = (1 - g) * h + g * moved
        return h, [h, past]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4, "delay": 2}, name="default")],
            gates="update, weight of the delayed candidate",
            also_in="torchrecurrent",
            others={"delay": 3, "dt": 0.5, "alpha": 0.5, "beta": 0.7},
        )
