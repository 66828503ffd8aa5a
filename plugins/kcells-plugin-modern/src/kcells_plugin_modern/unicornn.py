"""The UnICORNN: undamped oscillators that do not see each other."""

from __future__ import annotations

from typing import Any

import keras
from keras import initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.types import Tensor

__all__ = ["UnICORNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class UnICORNNCell(StandardCell):
    """Undamped oscillators, each for itself, with a trained frequency.

        s = dt * sigmoid(c)
        z_t = z_{t-1} - s * (tanh(V x_t + w * y_{t-1} + b) + alpha * y_{t-1})
        y_t = y_{t-1} + s * z_t

    `y` are positions and `z` velocities; `w` and `c` have a number for each oscillator.

    Paper: Rusch and Mishra 2021, "UnICORNN: A recurrent model for learning very long time
    dependencies", arXiv:2103.05487, one layer of it.

    Differences: none in the equations. `w` starts uniformly between 0 and 1 and `c` between -0.1
    and 0.1, as in the paper; `V` as in Keras' own cells, where the authors' code has PyTorch's
    `kaiming_uniform_(a=8)`. The paper chooses `dt` and `alpha` for each task, and has no
    defaults. torchrecurrent computes the same, but its `alpha` is 0 by default.

    Args:
        units: the number of oscillators, a positive int.
        dt: the longest step in time, a float. Default: 0.1.
        alpha: the stiffness, a float. Default: 1.
        recurrent_initializer: for `w`. Default: None, which is uniform between 0 and 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[y, z]`; `y`, `z` and the output, which is `y`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `recurrent_kernel`, which is `w`,
    `bias`, and `control`, which is `c`, `(units,)` each.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("unicornn", 4, return_state=True)
    >>> [tuple(one.shape) for one in layer(np.ones((2, 5, 3), "float32"))]
    [(2, 4), (2, 4), (2, 4)]
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4,), 'bias': (4,), 'control': (4,)}
    """

    def __init__(
        self,
        units: int,
        dt: float = 0.1,
        alpha: float = 1.0,
        recurrent_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        if recurrent_initializer is None:
            recurrent_initializer = initializers.RandomUniform(0.0, 1.0)
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)
        self.dt = dt
        self.alpha = alpha
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Makes the matrix and the three vectors."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units,))
        self.bias = self.add("bias", (self.units,))
        start = initializers.RandomUniform(-0.1, 0.1)
        self.control = self.add_weight(shape=(self.units,), name="control", initializer=start)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `y` and `[y, z]`."""
        y, z = states
        force = ops.tanh(projected + self.recurrent_kernel * self.dropped(y, training))
        size = self.dt * ops.sigmoid(self.control)
        z = z - size * (force + self.alpha * y)
        y = y + size * z
        return y, [y, z]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4, "dt": 0.5}, name="default")],
            others={"dt": 0.1, "alpha": 0.5},
            gates="",
            also_in="torchrecurrent",
            learning=Learning(lambda at: {"dt": 0.1 if (at.length or 0) > 100 else 0.5}, depth=2),
        )
