"""The strongly-typed RNN: a leaky mean of products with the inputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence
from kcells.types import Tensor
from kcells_plugin_gated.shifted import shifted

__all__ = ["TRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class TRNNCell(InputCell):
    """A gated mean of products with the inputs, whose gate does not see the state.

        z_t = W x_t
        f_t = recurrent_activation(V x_t + b)
        h_t = f_t * h_{t-1} + (1 - f_t) * z_t

    The cell is linear in its state, and all steps can be computed at once.

    Paper: Balduzzi and Ghifary 2016, "Strongly-Typed Recurrent Neural Networks",
    arXiv:1602.02218, the T-RNN.

    Differences: none in the equations. Weights start as in Keras' own cells. torchrecurrent has
    a bias at `z` too. `min_gru` is the same with such a bias, and with the other sign at what
    the gate sees.

    Args:
        units: the size of the state, a positive int.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 2 * units)`, the blocks f, z; `bias`
    `(units,)` of the gate.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("trnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)

    def add_weights(self, features: int) -> None:
        """Makes both weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.bias = self.add("bias", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the state is multiplied by, `f`, and what is added, `(1 - f) * z`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        gate, candidate = ops.split(shifted(products, self.bias), 2, axis=-1)
        f = self.recurrent_activation(gate)
        return [f, (1 - f) * candidate]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`h_t = kept_t * h_{t-1} + new_t`, of which the output is `h_t`."""
        kept, new = projected
        return LinearRecurrence([kept], [new], lambda states, projected: states[0])

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="forget",
            also_in="torchrecurrent",
            learning=Learning(depth=2),
        )
