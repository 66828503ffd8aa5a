"""The structurally constrained network: a part of the state that changes slowly."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor
from kcells_plugin_gated.shifted import shifted

__all__ = ["SCRNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class SCRNCell(StandardCell):
    """A vanilla RNN beside a context: leaky means of products with the inputs.

        s_t = (1 - alpha) * (W_s x_t) + alpha * s_{t-1}
        h_t = recurrent_activation(W_h x_t + U h_{t-1} + P s_t + b)
        y_t = [h_t, s_t]

    The output holds both parts. The paper's output layer, `f(U h_t + V s_t)`, is a Dense layer
    after the cell.

    Paper: Mikolov, Joulin, Chopra, Mathieu and Ranzato 2014, "Learning Longer Memory in
    Recurrent Neural Networks", arXiv:1412.7753.

    Differences: none in the equations; the paper has 40 contexts beside 100 units, and in one
    experiment trains an `alpha` for each context. Weights start as in Keras' own cells.
    torchrecurrent trains `alpha`, which starts at 0.5, has the output layer inside of the cell,
    with a tanh, and feeds what comes out of it back in the place of `h`.

    Args:
        units: the size of `h`, a positive int.
        context_units: the size of the context, a positive int; None for as many as `units`.
            Default: None.
        alpha: the share of the context that is kept, a float. Default: 0.95.
        recurrent_activation: for the units. Default: `"sigmoid"`.
        use_bias: whether there is `b`. Default: False, as in the paper.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, s]`; `h` `(batch, units)`, `s`
    `(batch, context_units)`, the output `(batch, units + context_units)`. Weights: `kernel`
    `(features, units + context_units)`, the blocks h, s; `recurrent_kernel`
    `(units + context_units, units)`, the rows for `h` before those for `s`; `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `context_units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("scrn", 4, context_units=2)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 6)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 6), 'recurrent_kernel': (6, 4)}
    """

    def __init__(
        self,
        units: int,
        context_units: int | None = None,
        alpha: float = 0.95,
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.alpha = alpha
        self.recurrent_activation = activations.get(recurrent_activation)
        size = units if context_units is None else self.positive("context_units", context_units)
        self.context_units: Any = context_units
        self._contexts = size
        self.state_size = [units, size]
        self.output_size = units + size

    @property
    def dropped_size(self) -> int:
        """Units and contexts meet one matrix, and are dropped together."""
        return self.units + self._contexts

    def add_weights(self, features: int) -> None:
        """Makes the weights."""
        self.kernel = self.add("kernel", (features, self.units + self._contexts))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.dropped_size, self.units))
        self.bias = self.add("bias", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The products with the inputs, of which those for `h` have biases."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return shifted(products, self.bias)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `[h, s]` as one vector, and both."""
        h, s = states
        of_h, of_s = ops.split(projected, [self.units], axis=-1)
        s = (1 - self.alpha) * of_s + self.alpha * s
        both = self.dropped(ops.concatenate([h, s], axis=-1), training)
        h = self.recurrent_activation(of_h + ops.matmul(both, self.recurrent_kernel))
        return ops.concatenate([h, s], axis=-1), [h, s]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4, "context_units": 2}, name="default")],
            gates="",
            also_in="torchrecurrent",
            others={"context_units": 3, "alpha": 0.5},
        )
