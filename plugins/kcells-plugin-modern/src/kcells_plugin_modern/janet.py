"""JANET: an LSTM of which the forget gate alone is left."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["JANETCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class JANETCell(StandardCell):
    """An LSTM that has a forget gate alone, "just another network".

        s_t = W_f x_t + U_f h_{t-1} + b_f
        g_t = activation(W_c x_t + U_c h_{t-1} + b_c)
        h_t = sigmoid(s_t) * h_{t-1} + (1 - sigmoid(s_t - beta)) * g_t

    With `beta=0` the two shares add up to one. With a positive `beta` more is taken in than is
    forgotten.

    With `max_time` the forget gate's bias starts at `log(u)`, with `u` uniform between 1 and
    `max_time - 1`: the memories of the units are then of all lengths up to `max_time`
    (chrono initialization).

    Paper: van der Westhuizen and Lasenby 2018, "The unreasonable effectiveness of the forget
    gate", arXiv:1804.04849. Chrono initialization: Tallec and Ollivier 2018, "Can recurrent
    neural networks warp time?", arXiv:1804.11188.

    Differences: the paper always starts with chrono initialization, at the length of its
    sequences; here that length has to be given. `max_time - 1` is Tallec and Ollivier's; the
    authors' code draws `u` up to the longest length itself. Without chrono initialization that
    code starts the forget gate's bias at 1; here it starts at 0. torchrecurrent trains `beta`,
    which in the paper is a constant, and holds `h` twice.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        beta: what is taken off the gate for the candidate, a float. Default: 1, the paper's.
        max_time: the longest that a unit should remember, in steps, at least 2; None for a gate
            whose bias starts as `bias_initializer` says. Default: None.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, `recurrent_kernel`
    `(units, 2 * units)` and `bias` `(2 * units,)`, the blocks f, c.

    Raises:
        ConfigurationError: if `units`, `max_time` or a dropout rate is out of range, or if
            `max_time` is given without biases.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("janet", 4, max_time=100)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'recurrent_kernel': (4, 8), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        beta: float = 1.0,
        max_time: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if max_time is not None and not (self.use_bias and 2 <= max_time < float("inf")):
            raise ConfigurationError(
                "JANETCell: max_time must be None, or a number of at least 2 with use_bias=True;"
                f" received max_time={max_time!r}, use_bias={self.use_bias!r}."
            )
        self.activation = activations.get(activation)
        self.beta = beta
        self.max_time: Any = max_time

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 2 * self.units))
        start = None if self.max_time is None else self._chrono
        self.bias = self.add("bias", (2 * self.units,), initializer=start)

    def _chrono(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Biases by chrono initialization; that of the candidate as `bias_initializer` says."""
        times = initializers.RandomUniform(1.0, self.max_time - 1.0)((self.units,), "float32")
        candidate = self.bias_initializer((self.units,), dtype=dtype)
        return ops.concatenate([ops.cast(ops.log(times), dtype), candidate])

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        s, candidate = ops.split(projected + products, 2, axis=-1)
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        h = ops.sigmoid(s) * h + ops.sigmoid(self.beta - s) * self.activation(candidate)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "beta": 0.0, "max_time": 20.0}, name="chrono"),
            ],
            others={"beta": 0.5, "max_time": 9.0},
            gates="forget",
            also_in="torchrecurrent",
            learning=Learning(lambda at: {"max_time": float(at.length or 100)}),
        )
