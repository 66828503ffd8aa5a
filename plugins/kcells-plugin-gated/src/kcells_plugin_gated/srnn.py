"""The shuffling RNN: the state moves on by one unit, and no weight touches it."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, InputCell
from kcells.types import Tensor

__all__ = ["SRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class SRNNCell(InputCell):
    """An RNN whose state is shifted by one unit at each step; all its weights act on the inputs.

        g_0 = x_t
        g_k = hidden_activation(W_k g_{k-1} + b_k)    for k = 1, ..., hidden_layers
        a_t = (W g_{hidden_layers} + b) * sigmoid(V x_t + c)
        h_t = activation(P h_{t-1} + a_t)

        (P h)_i = h_{i-1}, and of the last unit for the first

    The permutation `P` keeps lengths, so that gradients neither explode nor vanish by it, and a
    step costs no product.

    Paper: Rotman and Wolf 2021, "Shuffling Recurrent Neural Networks", arXiv:2007.07324.

    Differences: none in the equations. Weights start as in Keras' own cells, where the authors'
    code has the defaults of PyTorch.

    Args:
        units: the size of the state, a positive int.
        hidden_units: the size of the layers that the inputs go through, a positive int. Default:
            64.
        hidden_layers: their number, a positive int. Default: 1.
        activation: for the state. Default: `"relu"`.
        hidden_activation: for the layers that the inputs go through. Default: `"relu"`.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel_1` `(features, hidden_units)`, further ones
    `(hidden_units, hidden_units)`, `kernel` `(hidden_units, units)`, `kernel_gate`
    `(features, units)`, and a bias for each: `bias_1` and so on `(hidden_units,)`, `bias` and
    `bias_gate` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `hidden_units`, `hidden_layers` or the dropout rate is
            out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("srnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> for weight in layer.weights:
    ...     print(weight.name, tuple(weight.shape))
    kernel_1 (3, 64)
        bias_1 (64,)
        kernel (64, 4)
        kernel_gate (3, 4)
        bias (4,)
        bias_gate (4,)
    """

    def __init__(
        self,
        units: int,
        hidden_units: int = 64,
        hidden_layers: int = 1,
        activation: Any = "relu",
        hidden_activation: Any = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.hidden_units = self.positive("hidden_units", hidden_units)
        self.hidden_layers = self.positive("hidden_layers", hidden_layers)
        self.activation = activations.get(activation)
        self.hidden_activation = activations.get(hidden_activation)

    def add_weights(self, features: int) -> None:
        """Makes a matrix and a bias for each layer, for what comes out and for its gate."""
        self.layers: list[tuple[Any, Any]] = []
        for layer in range(1, self.hidden_layers + 1):
            shape = (features if layer == 1 else self.hidden_units), self.hidden_units
            kernel = self.add(f"kernel_{layer}", shape)
            self.layers.append((kernel, self.add(f"bias_{layer}", (self.hidden_units,))))
        self.kernel = self.add("kernel", (self.hidden_units, self.units))
        self.kernel_gate = self.add("kernel_gate", (features, self.units))
        self.bias = self.add("bias", (self.units,))
        self.bias_gate = self.add("bias_gate", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`a`: all that the cell computes but the shift."""
        x = hidden = self.input_dropout.drop(inputs, training)
        for kernel, bias in self.layers:
            hidden = self.hidden_activation(_affine(hidden, kernel, bias))
        gate = ops.sigmoid(_affine(x, self.kernel_gate, self.bias_gate))
        return _affine(hidden, self.kernel, self.bias) * gate

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        h = self.activation(ops.roll(states[0], 1, axis=-1) + projected)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4, "hidden_units": 5, "hidden_layers": 2}, name="default")],
            gates="input",
            also_in="",
            others={"hidden_units": 7, "hidden_layers": 3},
        )


def _affine(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """`W x + b`, or without `b`."""
    products = ops.matmul(x, kernel)
    return products if bias is None else products + bias
