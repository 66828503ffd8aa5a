"""The multiplicative RNN: each input has a recurrent matrix of its own, in factors."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Learning, Place, StandardCell
from kcells.types import Tensor

__all__ = ["MultiplicativeRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-mlstm")
class MultiplicativeRNNCell(StandardCell):
    """A vanilla RNN whose recurrent matrix is chosen by the input.

        m_t = (W_mx x_t) * (W_mh h_{t-1})
        h_t = activation(W_hm m_t + W_hx x_t + b)

    So the matrix between two states is `W_hm diag(W_mx x_t) W_mh`.

    Paper: Sutskever, Martens and Hinton 2011, "Generating Text with Recurrent Neural
    Networks", ICML 2011. The letters are those of Krause, Lu, Murray and Renals 2016,
    arXiv:1609.07959.

    Differences: the read-out of the paper is left to a layer after this one. The paper's
    recurrence, equations 7 and 8, has no bias at all: take `use_bias=False`. Matrices start as in
    Keras' cells; the paper's are made for its second-order optimizer.

    All that is remembered passes through `W_mx x_t`. The paper's inputs are one-hot, each with
    factors of its own. Where inputs are near zero, as those of a new `keras.layers.Embedding`
    are, so is the memory, and the gradient that could change it: put a constant beside the inputs
    and let its factors start at 1, in a `kernel_initializer` of your own.

    Args:
        units: the size of the state, a positive int.
        activation: Default: `"tanh"`.
        factors: the size of `m`, a positive int. Default: None, which is `units`.
        **kwargs: the other arguments of `kcells.StandardCell`. `kernel_*` are for `kernel`,
            `recurrent_*` for both other matrices, and `recurrent_dropout` drops entries of
            `h_{t-1}` where `m_t` sees them.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units + factors)`, the blocks `W_hx`,
    `W_mx`; `multiplicative_kernel` `(units, factors)`, which is `W_mh`; `recurrent_kernel`
    `(factors, units)`, which is `W_hm`; `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `factors` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_mlstm import MultiplicativeRNNCell
    >>> layer = kcells.RNN(MultiplicativeRNNCell(4, factors=6), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(3, 10), (4, 6), (6, 4), (4,)]
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        factors: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.factors = self.positive("factors", units if factors is None else factors)

    def add_weights(self, features: int) -> None:
        """The four matrices, two of them in `kernel`, and the bias."""
        self.kernel = self.add("kernel", (features, self.units + self.factors))
        self.multiplicative_kernel = self.add(
            "multiplicative_kernel", (self.units, self.factors), part="recurrent"
        )
        self.recurrent_kernel = self.add("recurrent_kernel", (self.factors, self.units))
        self.bias = self.add("bias", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`W_hx x + b` and `W_mx x`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        additive, factor = products[..., : self.units], products[..., self.units :]
        return [additive if self.bias is None else additive + self.bias, factor]

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        additive, factor = projected
        m = factor * ops.matmul(self.dropped(states[0], training), self.multiplicative_kernel)
        h = self.activation(additive + ops.matmul(m, self.recurrent_kernel))
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "factors": 6, "use_bias": False}, name="more factors, no bias"),
            ],
            others={"factors": 5},
            gates="",
            learning=Learning(_near_the_identity, adapt=_with_a_one),
        )


def _near_the_identity(at: Place) -> dict[str, Any]:
    """The factors of all inputs are near 1 at first, by the constant that is their last entry.

    What an Embedding gives is near 0, and so would be the product with the state.
    """

    def initializer(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        additive = keras.initializers.GlorotUniform()((shape[0], at.units), dtype)
        factors = keras.random.normal((shape[0], shape[1] - at.units), 0.0, 0.1, dtype)
        constant = ops.one_hot(ops.full((1,), shape[0] - 1), shape[0], axis=0, dtype=dtype)
        return ops.concatenate([additive, factors + constant], axis=1)

    return {"kernel_initializer": initializer}


def _with_a_one(steps: Tensor) -> Tensor:
    return ops.pad(steps, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
