"""The simple recurrent network: one matrix for the inputs, one for the state."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._declaring import shared_arguments

__all__ = ["BasicRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class BasicRNNCell(StandardCell):
    """The simple recurrent network of Elman.

        h_t = activation(W x_t + U h_{t-1} + b)

    Paper: Elman 1990, "Finding structure in time", Cognitive Science 14(2), pages 179-211,
    doi:10.1207/s15516709cog1402_1.

    Differences: the paper's units are logistic, which is `activation="sigmoid"`, and its
    context units start at 0.5, not at zero. `BasicRNNCell` of TensorFlow has tanh, and one
    matrix for `x_t` and `h_{t-1}` joined. The cell is `keras.layers.SimpleRNNCell`, and
    takes its weights.

    Args:
        units: the size of the state, a positive int.
        activation: for the new state. Default: `"tanh"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, `recurrent_kernel`
    `(units, units)`, `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_classic import BasicRNNCell
    >>> layer = kcells.RNN(BasicRNNCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> kcells.to_builtin(layer).__class__.__name__
    'SimpleRNN'
    """

    def __init__(self, units: int, activation: Any = "tanh", **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        seen = self.dropped(states[0], training)
        h = self.activation(projected + ops.matmul(seen, self.recurrent_kernel))
        return h, [h]

    def equivalent(self) -> Equivalence:
        """`keras.layers.SimpleRNN`, always."""
        return Equivalence("simple_rnn", arguments=shared_arguments(self))

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "activation": "sigmoid", "use_bias": False}, name="logistic"),
            ],
            gates="",
            also_in="Keras, torch.nn",
        )
