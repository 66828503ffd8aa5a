"""The LSTM of 1997, which cannot forget."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["OriginalLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class OriginalLSTMCell(StandardCell):
    """The LSTM as it was first: without a forget gate.

        i_t = recurrent_activation(W_i x_t + U_i h_{t-1} + b_i)
        g_t = activation(W_c x_t + U_c h_{t-1} + b_c)
        o_t = recurrent_activation(W_o x_t + U_o h_{t-1} + b_o)

        c_t = c_{t-1} + i_t * g_t
        h_t = o_t * output_activation(c_t)

    `activation="wide"` is the paper's `g(a) = 4 sigmoid(a) - 2`, between -2 and 2, and
    `output_activation="narrow"` is its `h(a) = 2 sigmoid(a) - 1`, which is `tanh(a / 2)`.

    Paper: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", Neural Computation 9(8).

    Differences: each unit has gates of its own, where the paper's blocks share them among
    several; the gates do not see what the other gates were; and gradients are whole, where the
    paper cuts them off at the gates. Weights start as in Keras' own cells, where the paper often
    starts the biases of the output gates below zero. torchrecurrent has `activation="tanh"`,
    `output_activation="tanh"` and second biases for the state.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate: `"wide"`, or an activation of Keras. Default: `"wide"`.
        output_activation: for the memory where it is read out: `"narrow"`, or an activation of
            Keras. Default: `"narrow"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `h`, `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, `recurrent_kernel`
    `(units, 3 * units)` and `bias` `(3 * units,)`, the blocks i, c, o.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("original_lstm", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_kernel': (4, 12), 'bias': (12,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "wide",
        output_activation: Any = "narrow",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.activation = _NAMED.get(activation) or activations.get(activation)
        self.output_activation = _NAMED.get(output_activation) or activations.get(output_activation)
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, 3 * self.units))
        self.bias = self.add("bias", (3 * self.units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, candidate, o = ops.split(projected + products, 3, axis=-1)
        c = c + self.recurrent_activation(i) * self.activation(candidate)
        h = self.recurrent_activation(o) * self.output_activation(c)
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        names = {function: name for name, function in _NAMED.items()}
        config = super().get_config()
        for key in ("activation", "output_activation"):
            config[key] = names.get(getattr(self, key), config[key])
        return config

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4}, name="default")],
            gates="input, output",
            also_in="torchrecurrent",
        )


def wide(a: Tensor) -> Tensor:
    """The paper's `g`, `4 sigmoid(a) - 2`."""
    return 2 * ops.tanh(a / 2)


def narrow(a: Tensor) -> Tensor:
    """The paper's `h`, `2 sigmoid(a) - 1`."""
    return ops.tanh(a / 2)


_NAMED = {"wide": wide, "narrow": narrow}
