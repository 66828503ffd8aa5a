"""The coupled oscillatory RNN: driven, damped oscillators as units."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kcells import Card, Case, Learning, Place, StandardCell
from kcells.types import Tensor

__all__ = ["CoRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class CoRNNCell(StandardCell):
    """Oscillators that drive each other, with positions `y` and velocities `z`.

        a_t = tanh(V u_t + W y_{t-1} + W_z z_{t-1} + b)

        implicit=False:  z_t = z_{t-1} + dt * (a_t - gamma * y_{t-1} - epsilon * z_{t-1})
        implicit=True:   z_t = z_{t-1} + dt * (a_t - gamma * y_{t-1} - epsilon * z_t)

        y_t = y_{t-1} + dt * z_t

    `u` are the inputs, `gamma` is the stiffness of the springs and `epsilon` the friction. The
    implicit equation is solved for `z_t`, which takes a division by `1 + dt * epsilon`.

    Paper: Rusch and Mishra 2021, "Coupled Oscillatory Recurrent Neural Network (coRNN): An
    accurate and (gradient) stable architecture for learning long time dependencies",
    arXiv:2010.00951, which has both forms.

    Differences: none in the equations. The explicit form is that of the authors' code and of
    torchrecurrent. The paper chooses `dt`, `gamma` and `epsilon` anew for each task: the defaults
    are those of the authors' code for sequential MNIST. Weights start as in Keras' own cells; the
    authors' code has the defaults of PyTorch.

    Args:
        units: the number of oscillators, a positive int.
        dt: the step in time, a float. Default: 0.042.
        gamma: the stiffness, a float. Default: 2.7.
        epsilon: the friction, a float. Default: 4.7.
        implicit: whether the friction acts on the new velocity. Default: False.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[y, z]`; `y`, `z` and the output, which is `y`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `recurrent_kernel`
    `(2 * units, units)`, the rows for `y` before those for `z`; `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("cornn", 4, return_state=True)
    >>> [tuple(one.shape) for one in layer(np.ones((2, 5, 3), "float32"))]
    [(2, 4), (2, 4), (2, 4)]
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (8, 4), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        dt: float = 0.042,
        gamma: float = 2.7,
        epsilon: float = 4.7,
        implicit: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.dt = dt
        self.gamma = gamma
        self.epsilon = epsilon
        self.implicit = implicit
        self.state_size = [units, units]

    @property
    def dropped_size(self) -> int:
        """Positions and velocities meet one matrix, and are dropped together."""
        return 2 * self.units

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (2 * self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `y` and `[y, z]`."""
        y, z = states
        both = self.dropped(ops.concatenate([y, z], axis=-1), training)
        force = ops.tanh(projected + ops.matmul(both, self.recurrent_kernel)) - self.gamma * y
        if self.implicit:
            z = (z + self.dt * force) / (1 + self.dt * self.epsilon)
        else:
            z = z + self.dt * (force - self.epsilon * z)
        y = y + self.dt * z
        return y, [y, z]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="explicit"),
                Case({"units": 4, "dt": 0.2, "implicit": True}, name="implicit"),
            ],
            others={"dt": 0.1, "gamma": 2.0, "epsilon": 3.0},
            gates="",
            also_in="torchrecurrent",
            learning=Learning(_oscillating, rates={"adding": 4.0}),
        )


def _oscillating(at: Place) -> dict[str, float]:
    """The steps in time have to add up to something; the other numbers are the paper's.

    It has them for the adding problem of 500 steps; the defaults are for digits of 784.
    """
    if at.length == 200:
        return {"dt": 0.06, "gamma": 66.0, "epsilon": 15.0}
    return {"dt": 0.042 if at.length is None or at.length > 100 else 0.25}
