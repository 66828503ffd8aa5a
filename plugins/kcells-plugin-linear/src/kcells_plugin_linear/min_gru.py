"""The minGRU: a GRU whose gate and candidate see the inputs alone.

So everything but one product and one sum is in `project_inputs`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence
from kcells.types import Tensor

__all__ = ["MinGRUCell", "positive"]


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class MinGRUCell(InputCell):
    """A GRU without a reset gate, whose gate and candidate do not see the state.

        z_t = sigmoid(W_z x_t + b_z)
        g_t = activation(W_h x_t + b_h)

        h_t = (1 - z_t) * h_{t-1} + z_t * g_t

    The state enters by a product with numbers that come from the inputs: the cell is
    linear in its state, and all steps can be computed at once.

    With `activation="positive"` the candidate is that of the paper's log-space variant,

        activation(a) = a + 0.5 if a >= 0, sigmoid(a) otherwise

    which is positive, so that a state that starts at zero or above never falls below zero.

    Paper: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs All We Needed?",
    arXiv:2410.01201: section 3.1 and, for `"positive"`, the appendix on log-space.

    Differences: none in the equations. The kernel starts as in `keras.layers.GRUCell` and
    the biases at zero, where the authors' code has the defaults of PyTorch. Products and
    sums are those of the equations above with `"positive"` too; nothing is computed from
    logarithms. The initial state is zero, as for any cell; the authors' code can also train a
    vector, and starts at what `"positive"` makes of it.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate: `"positive"`, or an activation of Keras. Default:
            `"linear"`, which is the paper's.
        **kwargs: the other arguments of `kcells.InputCell`.

    Call arguments:
        inputs: the inputs of one step.
        states: `[h]`.
        training: whether dropout is on.

    Shapes: inputs `(batch, features)`; `h` and the output, which is `h`, `(batch, units)`.
    Weights: `kernel` `(features, 2 * units)` and `bias` `(2 * units,)`, the blocks z, h.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import MinGRUCell
    >>> layer = kcells.RNN(MinGRUCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'bias': (8,)}
    """

    def __init__(self, units: int, activation: Any = "linear", **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        is_positive = isinstance(activation, str) and activation == "positive"
        self.activation = positive if is_positive else activations.get(activation)

    def add_weights(self, features: int) -> None:
        """Makes both weights."""
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the state is multiplied by, `1 - z`, and what is added, `z * g`."""
        gate, candidate = ops.split(super().project_inputs(inputs, training), 2, axis=-1)
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        return [ops.sigmoid(-gate), ops.sigmoid(gate) * self.activation(candidate)]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`h_t = kept_t * h_{t-1} + new_t`, of which the output is `h_t`."""
        kept, new = projected
        return LinearRecurrence([kept], [new], lambda states, projected: states[0])

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "activation": "positive"}, name="positive"),
            ],
            gates="update",
            learning=Learning(depth=2),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        if self.activation is positive:
            config["activation"] = "positive"
        return config


def positive(a: Tensor) -> Tensor:
    """The paper's `g`: continuous, increasing and above zero."""
    return ops.where(a >= 0, a + 0.5, ops.sigmoid(a))
