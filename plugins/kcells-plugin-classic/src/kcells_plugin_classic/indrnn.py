"""The IndRNN: each unit sees of the state nothing but itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers

from kcells import Card, Case, Learning, Place, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic.max_absolute import MaxAbsolute

__all__ = ["IndRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class IndRNNCell(StandardCell):
    """The independently recurrent network: a vector in the place of the recurrent matrix.

        h_t = activation(W x_t + u * h_{t-1} + b)

    Units meet in the next layer alone, so layers are meant to be stacked.

    Paper: Li, Li, Cook, Zhu and Gao 2018, "Independently Recurrent Neural Network (IndRNN):
    Building A Longer and Deeper RNN", arXiv:1803.04831.

    Differences: none in the equations. For sequences of T steps the paper keeps the entries
    of `u` below the T-th root of a bound for what the state may grow by; here nothing does but
    `recurrent_constraint`, and over 200 steps a state may grow until it is no number.
    torchrecurrent has tanh, and draws `u` from a normal distribution.

    Args:
        units: the size of the state, a positive int.
        activation: for the new state. Default: `"relu"`, as in the paper.
        recurrent_initializer: for `recurrent_kernel`. Default: None, uniform from 0 to 1.
        recurrent_constraint: for the same. Default: None; `MaxAbsolute(2.0 ** (1 / T))` of this
            package is the paper's bound for twice the state in T steps.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `recurrent_kernel`, which is
    `u`, and `bias`, `(units,)`.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("indrnn", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'recurrent_kernel': (4,), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "relu",
        recurrent_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        if recurrent_initializer is None:
            recurrent_initializer = initializers.RandomUniform(0.0, 1.0)
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)
        self.activation = activations.get(activation)

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units,))
        self.bias = self.add("bias", (self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        seen = self.dropped(states[0], training)
        h = self.activation(projected + self.recurrent_kernel * seen)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "activation": "tanh", "use_bias": False}, name="tanh"),
            ],
            gates="",
            also_in="torchrecurrent",
            learning=Learning(_bounded, depth=2),
        )


def _bounded(at: Place) -> dict[str, Any]:
    """As the paper has it: relu, without a bound, grows until it is no number."""
    return {"recurrent_constraint": MaxAbsolute(2.0 ** (1.0 / (at.length or 100)))}
