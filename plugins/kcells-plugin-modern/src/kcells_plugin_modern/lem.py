"""Long expressive memory: two time scales that depend on the inputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["LEMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class LEMCell(StandardCell):
    """Two states, of which each moves by steps in time that inputs and state choose.

        s_t = dt * sigmoid(V_1 u_t + W_1 y_{t-1} + b_1)
        r_t = dt * sigmoid(V_2 u_t + W_2 y_{t-1} + b_2)
        z_t = (1 - s_t) * z_{t-1} + s_t * tanh(V_z u_t + W_z y_{t-1} + b_z)
        y_t = (1 - r_t) * y_{t-1} + r_t * tanh(V_y u_t + W_y z_t + b_y)

    `u` are the inputs. `y` sees the `z` of the same step.

    Paper: Rusch, Mishra, Erichson and Mahoney 2022, "Long Expressive Memory for Sequence
    Modeling", arXiv:2110.04744.

    Differences: none in the equations. torchrecurrent gives `y` the `z` of the step before.
    Weights start as in Keras' own cells; the authors' code draws all of them uniformly, up to
    `1 / sqrt(units)`.

    Args:
        units: the size of each state, a positive int.
        dt: the longest step in time, a float. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[y, z]`; `y`, `z` and the output, which is `y`,
    `(batch, units)`. Weights: `kernel` `(features, 4 * units)` and `bias` `(4 * units,)`, the
    blocks 1, 2, z, y; `recurrent_kernel` `(units, 3 * units)`, the blocks 1, 2, z, which act on
    `y`; `recurrent_kernel_y` `(units, units)`, which acts on `z`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("lem", 4, return_state=True)
    >>> [tuple(one.shape) for one in layer(np.ones((2, 5, 3), "float32"))]
    [(2, 4), (2, 4), (2, 4)]
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[1:3]}
    {'recurrent_kernel': (4, 12), 'recurrent_kernel_y': (4, 4)}
    """

    def __init__(self, units: int, dt: float = 1.0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.dt = dt
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Makes the four weights."""
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 3 * self.units))
        self.recurrent_kernel_y = self.add("recurrent_kernel_y", (self.units, self.units))
        self.bias = self.add("bias", (4 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `y` and `[y, z]`."""
        y, z = states
        products = ops.matmul(self.dropped(y, training), self.recurrent_kernel)
        of_s, of_r, of_z = ops.split(products, 3, axis=-1)
        s, r, slow, fast = ops.split(projected, 4, axis=-1)
        s = self.dt * ops.sigmoid(s + of_s)
        r = self.dt * ops.sigmoid(r + of_r)
        z = (1 - s) * z + s * ops.tanh(slow + of_z)
        of_y = ops.matmul(self.dropped(z, training), self.recurrent_kernel_y)
        y = (1 - r) * y + r * ops.tanh(fast + of_y)
        return y, [y, z]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default"), Case({"units": 4, "dt": 0.3}, name="dt")],
            others={"dt": 0.5},
            gates="two time steps",
            also_in="torchrecurrent",
        )
