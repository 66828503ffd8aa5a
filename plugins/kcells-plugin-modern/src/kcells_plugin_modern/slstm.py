"""The sLSTM of xLSTM: exponential gates, and two more states that keep them in range."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_modern.initial import drawn

__all__ = ["SLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class SLSTMCell(StandardCell):
    """An LSTM with exponential gates, a normalizer `n` and a stabilizer `m`.

        (z~_t; i~_t; f~_t; o~_t) = W x_t + R h_{t-1} + b

        log f_t = log(sigmoid(f~_t)), or f~_t with forget_gate="exponential"
        m_t = max(log f_t + m_{t-1}, i~_t)
        i_t = exp(i~_t - m_t)
        f_t = exp(log f_t + m_{t-1} - m_t)

        c_t = f_t * c_{t-1} + i_t * activation(z~_t)
        n_t = f_t * n_{t-1} + i_t
        h_t = sigmoid(o~_t) * c_t / n_t

    `m` takes a factor out of both `c` and `n`, which their quotient does not know: `h` is what it
    would be with `i_t = exp(i~_t)` and no `m`, but nothing overflows. Where `n` is still zero,
    `m_t = i~_t`, so that the first step cannot be 0 / 0.

    With `heads`, the units fall into groups of equal size, and `R` mixes those of a group alone.

    Paper: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter and Hochreiter
    2024, "xLSTM: Extended Long Short-Term Memory", arXiv:2405.04517.

    Differences: none in the equations. The paper has both forget gates; the sigmoid is what the
    authors' code computes. This is the cell alone: the convolution in front of it, the group
    norm and the projections of the paper's block are not here. With `heads` the authors' input
    matrices are in blocks as `R` is; here `W` is full. Weights start as in Keras' own cells, but
    all biases at zero; the authors' code begins `R` at zero and the biases of `f` along a power
    law.

    Args:
        units: the size of each state, a positive int.
        activation: for `z`. Default: `"tanh"`.
        forget_gate: `"sigmoid"` or `"exponential"`. Default: `"sigmoid"`.
        heads: the number of groups, which divides `units`. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h, c, n, m]`, and the output, which is `h`, are
    `(batch, units)` each. Weights: `kernel` `(features, 4 * units)` and `bias` `(4 * units,)`,
    the blocks z, i, f, o; `recurrent_kernel` `(heads, units / heads, 4 * units / heads)`, with
    the same blocks in each head.

    Raises:
        ConfigurationError: if `units`, `heads`, `forget_gate` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("slstm", 4, heads=2)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 16), 'recurrent_kernel': (2, 2, 8), 'bias': (16,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        forget_gate: str = "sigmoid",
        heads: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if forget_gate not in ("sigmoid", "exponential"):
            raise ConfigurationError(
                'SLSTMCell: forget_gate must be "sigmoid" or "exponential"; received'
                f" {forget_gate!r}."
            )
        if units % self.positive("heads", heads):
            raise ConfigurationError(
                f"SLSTMCell: heads must divide units; received heads={heads}, units={units}."
            )
        self.activation = activations.get(activation)
        self.forget_gate = forget_gate
        self.heads = heads
        self.state_size = [units] * 4

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        size = self.units // self.heads
        self.kernel = self.add("kernel", (features, 4 * self.units))
        self.recurrent_kernel = self.add(
            "recurrent_kernel", (self.heads, size, 4 * size), initializer=self._head_by_head
        )
        self.bias = self.add("bias", (4 * self.units,))

    def _head_by_head(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Matrices, each as `recurrent_initializer` has one of its shape."""
        matrices = [drawn(self.recurrent_initializer, shape[1:], dtype) for _ in range(shape[0])]
        return ops.stack(matrices)

    def _recurrent_products(self, h: Tensor) -> Tensor:
        """`R h`, `(batch, 4, units)`, head by head."""
        size = self.units // self.heads
        products = ops.einsum(
            "bhi,hij->bhj", ops.reshape(h, (-1, self.heads, size)), self.recurrent_kernel
        )
        blocks = ops.reshape(products, (-1, self.heads, 4, size))
        return ops.reshape(ops.transpose(blocks, (0, 2, 1, 3)), (-1, 4, self.units))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c, n, m]`."""
        h, c, n, m = states
        sums = ops.reshape(projected, (-1, 4, self.units))
        sums = sums + self._recurrent_products(self.dropped(h, training))
        z, i, f, o = (sums[:, block] for block in range(4))
        # log(sigmoid(f)) is -softplus(-f), which does not underflow.
        log_f = -ops.softplus(-f) if self.forget_gate == "sigmoid" else f
        kept = ops.where(n == 0, i, log_f + m)
        m = ops.maximum(kept, i)
        i, f = ops.exp(i - m), ops.exp(kept - m)
        c = f * c + i * self.activation(z)
        n = f * n + i
        h = ops.sigmoid(o) * c / n
        return h, [h, c, n, m]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case(
                    {"units": 4, "forget_gate": "exponential", "heads": 2},
                    name="exponential, heads",
                ),
            ],
            others={"forget_gate": "exponential", "heads": 2},
            gates="input, forget, output",
        )
