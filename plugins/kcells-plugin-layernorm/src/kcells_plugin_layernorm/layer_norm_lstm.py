"""The layer-normalized LSTM, with norms where the paper has them or one for each gate.

In the paper the products with the inputs are normalized on their own, so that this is in
`project_inputs`. With a norm for each gate the sum is normalized, and it has to wait for `h`.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, Learning, Reason, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_layernorm.norm import checked_epsilon, standardized

__all__ = ["LayerNormLSTMCell"]

_NORMS = ("paper", "gates", None)
_NO_ARGUMENTS_OF_KERAS = ("name", "trainable", "dtype", "normalize", "epsilon")


@keras.saving.register_keras_serializable(package="kcells-plugin-layernorm")
class LayerNormLSTMCell(StandardCell):
    """An LSTM with layer normalization of its products and of the cell.

        normalize="paper":  (i_t; f_t; g_t; o_t) = LN(W x_t) + LN(U h_{t-1}) + b
                            c_t = s(f_t) * c_{t-1} + s(i_t) * activation(g_t)
                            h_t = s(o_t) * activation(LN(c_t) + b_c)

        normalize="gates":  a_t = W x_t + U h_{t-1}
                            k_t = LN(k of a_t) + b_k   for k in i, f, g, o
                            c_t = LN(s(f_t) * c_{t-1} + s(i_t) * activation(g_t)) + b_c
                            h_t = s(o_t) * activation(c_t)

        LN(a) = gamma * (a - mean(a)) / sqrt(variance(a) + epsilon)

    `s` is `recurrent_activation`. Each `LN` has a `gamma` of its own; mean and variance are
    those of one sample at one step. `"paper"` takes them over all `4 * units` of a product,
    and over the `units` of `c`; the state `c` is kept as it was. `"gates"` takes them over
    the `units` of one gate, and keeps the normalized `c`. With `normalize=None` the cell is
    `keras.layers.LSTMCell`, and takes its weights as they are.

    Paper: Ba, Kiros and Hinton 2016, "Layer Normalization", arXiv:1607.06450, the LSTM of
    the supplementary material.

    Differences: the paper has a shift for each of the first two norms and a bias. They only
    ever act as a sum, which is `b`. The authors' code (ryankiros/layer-norm) adds that bias
    twice: to `W x_t` before its norm, and once more after it. `"gates"` is TensorFlow's
    `LayerNormBasicLSTMCell`, with `unit_forget_bias=True` and without the dropout of `g` that it
    has; there the 1 on the forget gate is a constant, not trained, and epsilon is 1e-12.
    TensorFlow Addons' `LayerNormLSTMCell` is between both: the gates of `"paper"`, the `c` of
    `"gates"`.

    Args:
        units: the size of both states, a positive int.
        activation: for candidate and output. Default: `"tanh"`.
        recurrent_activation: for the three gates. Default: `"sigmoid"`.
        unit_forget_bias: whether the forget gate's part of `b` starts at 1. Default: False:
            the paper starts shifts at 0.
        normalize: `"paper"`, `"gates"` or None. Default: `"paper"`.
        epsilon: added to the variance, a positive float. Default: 1e-5.
        gamma_initializer: for the gains. Default: `"ones"`, which is the paper's.
        gamma_regularizer, gamma_constraint: for the gains. Default: None.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `h`, `c` and the output, which is
    `h`, `(batch, units)`. Weights: `kernel` `(features, 4 * units)` and `recurrent_kernel`
    `(units, 4 * units)`, the blocks i, f, g, o; `bias` `(4 * units,)`; `gamma`
    `(2, 4 * units)`, the first row for the inputs, or `(4 * units,)` with `"gates"`;
    `state_gamma` and `state_bias` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `normalize`, `epsilon` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_layernorm import LayerNormLSTMCell
    >>> layer = kcells.RNN(LayerNormLSTMCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[2:]}
    {'bias': (16,), 'gamma': (2, 16), 'state_gamma': (4,), 'state_bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        unit_forget_bias: bool = False,
        normalize: Literal["paper", "gates"] | None = "paper",
        epsilon: float = 1e-5,
        gamma_initializer: Any = "ones",
        gamma_regularizer: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if normalize not in _NORMS:
            raise ConfigurationError(
                'LayerNormLSTMCell: normalize must be "paper", "gates" or None;'
                f" received {normalize!r}."
            )
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.normalize = normalize
        self.epsilon = checked_epsilon("LayerNormLSTMCell", epsilon)
        self.keep_part("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.state_size = [units, units]

    def add_weights(self, features: int) -> None:
        """The weights of an LSTM, and gains and shifts of the norms."""
        units = self.units
        self.kernel = self.add("kernel", (features, 4 * units))
        self.recurrent_kernel = self.add("recurrent_kernel", (units, 4 * units))
        self.bias = self.add("bias", (4 * units,), initializer=self._first_bias)
        if self.normalize is not None:
            rows = (2,) if self.normalize == "paper" else ()
            self.gamma = self.add("gamma", (*rows, 4 * units))
            self.state_gamma = self.add("state_gamma", (units,), part="gamma")
            self.state_bias = self.add("state_bias", (units,), part="bias")

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The products with the inputs, as far as they go without those with the state."""
        if self.normalize is None:
            return super().project_inputs(inputs, training)
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        if self.normalize == "gates":
            return products
        return self._shifted(standardized(products, self.epsilon) * self.gamma[0], self.bias)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, f, g, o = ops.split(self._gates(projected, products), 4, axis=-1)
        i, f, o = (self.recurrent_activation(gate) for gate in (i, f, o))
        c = f * c + i * self.activation(g)
        seen = c
        if self.normalize is not None:
            seen = standardized(c, self.epsilon) * self.state_gamma
            seen = self._shifted(seen, self.state_bias)
        if self.normalize == "gates":
            c = seen
        h = o * self.activation(seen)
        return h, [h, c]

    def equivalent(self) -> Equivalence:
        """`keras.layers.LSTM`, if nothing is normalized."""
        return Equivalence(
            "lstm",
            [
                Reason(
                    "nothing is normalized",
                    self.normalize is None,
                    f"normalize={self.normalize!r}",
                ),
                Reason(
                    "dropout leaves the state alone, of which Keras drops other parts a gate",
                    not self.recurrent_dropout,
                    f"recurrent_dropout={self.recurrent_dropout}",
                ),
            ],
            {
                name: value
                for name, value in self.get_config().items()
                if name not in _NO_ARGUMENTS_OF_KERAS and not name.startswith("gamma_")
            },
        )

    def _gates(self, projected: Tensor, products: Tensor) -> Tensor:
        """What the four gates are before their activations, `(batch, 4 * units)`."""
        if self.normalize is None:
            return projected + products
        if self.normalize == "paper":
            return projected + standardized(products, self.epsilon) * self.gamma[1]
        each = ops.reshape(projected + products, (-1, 4, self.units))
        each = ops.reshape(standardized(each, self.epsilon), (-1, 4 * self.units))
        return self._shifted(each * self.gamma, self.bias)

    def _shifted(self, a: Tensor, bias: Any) -> Tensor:
        return a if bias is None else a + bias

    def _first_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        bias = self.bias_initializer(shape, dtype=dtype)
        if not self.unit_forget_bias:
            return bias
        i, _, g, o = ops.split(bias, 4)
        return ops.concatenate([i, ops.ones((self.units,), dtype=dtype), g, o])

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "normalize": "gates", "unit_forget_bias": True}, name="gates"),
                Case({"units": 4, "normalize": None}, name="an LSTM"),
            ],
            others={"normalize": "gates", "epsilon": 0.01},
            gates="input, forget, output",
            learning=Learning(lambda at: {"unit_forget_bias": True}),
        )
