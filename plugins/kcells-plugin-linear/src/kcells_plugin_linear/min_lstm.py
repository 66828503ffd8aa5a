"""The minLSTM: an LSTM whose gates and candidate see the inputs alone."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence
from kcells.types import Tensor
from kcells_plugin_linear.min_gru import positive

__all__ = ["MinLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class MinLSTMCell(InputCell):
    """An LSTM without an output gate, whose gates and candidate do not see the state.

        f_t = sigmoid(W_f x_t + b_f)
        i_t = sigmoid(W_i x_t + b_i)
        g_t = activation(W_h x_t + b_h)

        normalize_gates=True:   h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * g_t
        normalize_gates=False:  h_t = f_t * h_{t-1} + i_t * g_t

    The cell is linear in its state, and all steps can be computed at once. Normalized, the
    state stays between what it has seen, however long a sequence is. With
    `activation="positive"` the candidate is that of the paper's log-space variant, as for
    `MinGRUCell`.

    Paper: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs All We Needed?",
    arXiv:2410.01201: section 3.2, and the algorithms of the appendix, where the normalized
    gates are called length independence scaling.

    Differences: none in the equations. The kernel starts as in `keras.layers.LSTMCell` and
    the biases at zero, where the authors' code has the defaults of PyTorch, and can add a number
    to the forget gate's. The initial state is zero, as for any cell; the authors' code can also
    train a vector, and starts at what `"positive"` makes of it. The quotients are computed as the
    sigmoid of a difference.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate: `"positive"`, or an activation of Keras. Default:
            `"linear"`, which is the paper's.
        normalize_gates: whether the gates are made to sum to 1. Default: True.
        use_bias: whether there are biases. Default: True.
        kernel_initializer: for `kernel`. Default: `"glorot_uniform"`.
        bias_initializer: for `bias`. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for `kernel` and `bias`. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for the dropout mask, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)` and `bias` `(3 * units,)`, the
    blocks f, i, h.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import MinLSTMCell
    >>> layer = kcells.RNN(MinLSTMCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'bias': (12,)}
    """

    def __init__(
        self, units: int, activation: Any = "linear", normalize_gates: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        is_positive = isinstance(activation, str) and activation == "positive"
        self.activation = positive if is_positive else activations.get(activation)
        self.normalize_gates = normalize_gates

    def add_weights(self, features: int) -> None:
        """Makes both weights."""
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.bias = self.add("bias", (3 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the state is multiplied by, and what is added."""
        f, i, g = ops.split(super().project_inputs(inputs, training), 3, axis=-1)
        if not self.normalize_gates:
            return [ops.sigmoid(f), ops.sigmoid(i) * self.activation(g)]
        # log(f_t / i_t): where both gates are nearly shut, their quotient is still exact.
        ratio = ops.softplus(-i) - ops.softplus(-f)
        return [ops.sigmoid(ratio), ops.sigmoid(-ratio) * self.activation(g)]

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
                Case({"units": 4, "normalize_gates": False}, name="gates as they are"),
                Case({"units": 4, "activation": "positive"}, name="positive"),
            ],
            gates="input, forget",
            learning=Learning(depth=2),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = super().get_config()
        if self.activation is positive:
            config["activation"] = "positive"
        return config
