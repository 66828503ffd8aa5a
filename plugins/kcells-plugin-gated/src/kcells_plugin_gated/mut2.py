"""MUT2: of the same search, with a reset gate that the inputs reach without a matrix."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["MUT2Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class MUT2Cell(StandardCell):
    """A GRU whose reset gate adds the inputs themselves.

        z_t = recurrent_activation(W_z x_t + U_z h_{t-1} + b_z)
        r_t = recurrent_activation(x_t + U_r h_{t-1} + b_r)
        g_t = activation(W_h x_t + U_h (r_t * h_{t-1}) + b_h)
        h_t = (1 - z_t) * h_{t-1} + z_t * g_t

    Where `units` is not the number of features, `W_r x_t` takes the place of `x_t` in the second
    line: a GRU with `reset_after=False`, but for the sign of `z`.

    Paper: Jozefowicz, Zaremba and Sutskever 2015, "An Empirical Exploration of Recurrent Network
    Architectures", ICML 2015.

    Differences: `W_r` is not in the paper, whose inputs have as many features as there are
    units. Weights start as in Keras' own cells. torchrecurrent always has `W_r`, and second
    biases for the state.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, the blocks z, h, and `W_r` as a
    third where `units` is not `features`; `recurrent_kernel` `(units, 3 * units)` and `bias`
    `(3 * units,)`, the blocks z, r, h.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("mut2", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_kernel': (4, 12), 'bias': (12,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)

    def add_weights(self, features: int) -> None:
        """Makes the three weights; the kernel has a block for the reset gate if it needs one."""
        self._passes = features == self.units
        self.kernel = self.add("kernel", (features, (2 if self._passes else 3) * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 3 * self.units))
        self.bias = self.add("bias", (3 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """What the gates and the candidate see of the inputs, the blocks z, r, h."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        z, candidate = products[..., : self.units], products[..., self.units : 2 * self.units]
        passing = ops.cast(inputs, self.compute_dtype)
        r = passing if self._passes else products[..., 2 * self.units :]
        joined = ops.concatenate([z, r, candidate], axis=-1)
        return joined if self.bias is None else joined + self.bias

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        gates, candidate = ops.split(projected, [2 * self.units], axis=-1)
        of_gates, of_candidate = ops.split(self.recurrent_kernel, [2 * self.units], axis=-1)
        z, r = ops.split(self.recurrent_activation(gates + ops.matmul(seen, of_gates)), 2, axis=-1)
        g = self.activation(candidate + ops.matmul(r * seen, of_candidate))
        h = (1 - z) * h + z * g
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default"), Case({"units": 3}, name="as many as features")],
            gates="update, reset",
            also_in="torchrecurrent",
            note="F is not U",
        )
