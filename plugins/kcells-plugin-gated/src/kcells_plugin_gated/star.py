"""The stackable recurrent cell, made for deep stacks."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["STARCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class STARCell(StandardCell):
    """A GRU with one gate, whose candidate sees the inputs alone, and whose state is squashed.

        z_t = activation(W_z x_t + b_z)
        k_t = recurrent_activation(W_k x_t + U_k h_{t-1} + b_k)
        h_t = activation((1 - k_t) * h_{t-1} + k_t * z_t)

    With `max_time` the biases `b_k` start at `-log(u)`, with `u` uniform between 1 and
    `max_time - 1`: the memories of the units are then of all lengths up to `max_time` (chrono
    initialization).

    Paper: Turkoglu, D'Aronco, Wegner and Schindler 2019, "Gating Revisited: Deep Multi-layer
    RNNs That Can Be Trained", arXiv:1911.11033. Chrono initialization: Tallec and Ollivier 2018,
    "Can recurrent neural networks warp time?", arXiv:1804.11188.

    Differences: none in the equations. The authors' code always has chrono initialization, with
    `u` up to 784, and multiplies `z_t` with a share that is larger than `k_t`, with one added to
    what the sigmoid sees, as JANET does. Weights start as in Keras' own cells. torchrecurrent
    computes the same as here, with a second bias.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate and the new state. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        max_time: the longest that a unit should remember, in steps, at least 2; None for biases
            that start as `bias_initializer` says. Default: None.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)` and `bias` `(2 * units,)`, the
    blocks z, k; `recurrent_kernel` `(units, units)`.

    Raises:
        ConfigurationError: if `units`, `max_time` or a dropout rate is out of range, or if
            `max_time` is given without biases.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("star", 4, max_time=100)
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
        max_time: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        if max_time is not None and not (self.use_bias and 2 <= max_time < float("inf")):
            raise ConfigurationError(
                "STARCell: max_time must be None, or a number of at least 2 with use_bias=True;"
                f" received max_time={max_time!r}, use_bias={self.use_bias!r}."
            )
        self.max_time: Any = max_time

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        start = None if self.max_time is None else self._chrono
        self.bias = self.add("bias", (2 * self.units,), initializer=start)

    def _chrono(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Biases whose second block is by chrono initialization."""
        candidate = self.bias_initializer((self.units,), dtype=dtype)
        times = initializers.RandomUniform(1.0, self.max_time - 1.0)((self.units,), "float32")
        return ops.concatenate([candidate, ops.cast(-ops.log(times), dtype)])

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        candidate, gate = ops.split(projected, 2, axis=-1)
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        k = self.recurrent_activation(gate + products)
        h = self.activation((1 - k) * h + k * self.activation(candidate))
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="update",
            also_in="torchrecurrent",
            others={"max_time": 9.0},
        )
