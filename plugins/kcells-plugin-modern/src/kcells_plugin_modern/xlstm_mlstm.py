"""The mLSTM of xLSTM: a matrix for each head, which holds values under keys."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import initializers, ops

from kcells import Card, Case, InputCell, Learning
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["XLSTMmLSTMCell"]

_LEAST = {"float16": 1e-4}
"""The denominator, where not 1e-6: both its parts may be rounded to zero where the memory is not.
float16 has no room for a million times that memory."""


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class XLSTMmLSTMCell(InputCell):
    """The mLSTM of xLSTM, with a matrix memory. It is not `mlstm`, the multiplicative LSTM.

    Each head, whose vectors have `d = units / heads` entries, computes

        q_t = W_q x_t + b_q
        k_t = W_k x_t / sqrt(d) + b_k
        v_t = W_v x_t + b_v
        i~_t = w_i x_t + b_i
        f~_t = w_f x_t + b_f

        log f_t = log(sigmoid(f~_t)), or f~_t with forget_gate="exponential"
        m_t = max(log f_t + m_{t-1}, i~_t)
        i_t = exp(i~_t - m_t)
        f_t = exp(log f_t + m_{t-1} - m_t)

        C_t = f_t * C_{t-1} + i_t * v_t k_t^T
        n_t = f_t * n_{t-1} + i_t * k_t
        h~_t = C_t q_t / max(|n_t^T q_t|, exp(-m_t))

    and the output is `h_t = sigmoid(W_o x_t + b_o) * h~_t`, with the heads one after the other.
    `m` takes a factor out of `C` and `n`, so that nothing overflows: `h` is what it would be with
    `i_t = exp(i~_t)`, no `m`, and 1 in the place of `exp(-m_t)`. No output goes back into the
    cell, so the state meets no matrix but its own.

    Paper: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter and Hochreiter
    2024, "xLSTM: Extended Long Short-Term Memory", arXiv:2405.04517.

    Differences: none in the equations, but for a denominator of at least 1e-6, or 1e-4 in
    float16, where the authors' code adds 1e-6. Their code has the sigmoid for `f`, computes both
    gates from `q`, `k` and `v`, scales the whole of `k`, and gates the output outside of the
    cell. The convolution, the group norm and the projections of the paper's block are not here.
    Weights start as in the authors' code, where the columns of the gates i and f of `kernel` are
    zero and the others Glorot here; see `bias_initializer`.

    Args:
        units: the size of the output, a positive int.
        heads: the number of memories, which divides `units`. Default: 1.
        forget_gate: `"sigmoid"` or `"exponential"`. Default: `"sigmoid"`.
        kernel_initializer: for the whole of `kernel`; None for the above. Default: None.
        bias_initializer: for the whole of `bias`; None for f from 3 in the first head to 6 in
            the last (0 if exponential), i normal with a deviation of 0.1, and zeros. Default: None.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`; states `[C, n, m]`, of `(batch, heads, d, d)`,
    `(batch, heads, d)` and `(batch, heads)`; the output `(batch, units)`. Weights: `kernel`
    `(features, 4 * units + 2 * heads)` and `bias` `(4 * units + 2 * heads,)`, the blocks q, k, v,
    o, i, f.

    Raises:
        ConfigurationError: if `units`, `heads`, `forget_gate` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("xlstm_mlstm", 6, heads=2, return_state=True)
    >>> [tuple(one.shape) for one in layer(np.ones((2, 5, 3), "float32"))]
    [(2, 6), (2, 2, 3, 3), (2, 2, 3), (2, 2)]
    """

    def __init__(
        self,
        units: int,
        heads: int = 1,
        forget_gate: str = "sigmoid",
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            **kwargs,
        )
        if forget_gate not in ("sigmoid", "exponential"):
            raise ConfigurationError(
                'XLSTMmLSTMCell: forget_gate must be "sigmoid" or "exponential"; received'
                f" {forget_gate!r}."
            )
        if units % self.positive("heads", heads):
            raise ConfigurationError(
                f"XLSTMmLSTMCell: heads must divide units; received heads={heads}, units={units}."
            )
        self.heads, self.forget_gate = heads, forget_gate
        size = units // heads
        self.state_size = [(heads, size, size), (heads, size), (heads,)]

    def add_weights(self, features: int) -> None:
        """Makes one matrix and one bias for all that is made of the inputs."""
        width = 4 * self.units + 2 * self.heads
        kernel = self._first_kernel if self.kernel_initializer is None else None
        bias = self._first_bias if self.bias_initializer is None else None
        self.kernel = self.add("kernel", (features, width), initializer=kernel)
        self.bias = self.add("bias", (width,), initializer=bias)

    def _first_kernel(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Gates that do not listen to the inputs yet."""
        features, gates = shape[0], 2 * self.heads
        vectors = initializers.GlorotUniform()((features, shape[1] - gates), dtype=dtype)
        return ops.concatenate([vectors, ops.zeros((features, gates), dtype=dtype)], axis=-1)

    def _first_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        """Heads that remember for some 20 steps, the first, to some 400, the last."""
        i = initializers.RandomNormal(stddev=0.1)((self.heads,), dtype=dtype)
        # An exponential gate of 0 is one that keeps all; above, the memory would only grow.
        last = 6.0 if self.forget_gate == "sigmoid" else 0.0
        f = ops.convert_to_tensor(np.linspace(last / 2, last, self.heads), dtype=dtype)
        return ops.concatenate([ops.zeros((4 * self.units,), dtype=dtype), i, f], axis=-1)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """All that is made of the inputs, `(..., 4 * units + 2 * heads)`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        scale = np.ones(4 * self.units + 2 * self.heads)
        scale[self.units : 2 * self.units] = (self.units // self.heads) ** -0.5
        products = products * ops.convert_to_tensor(scale, dtype=self.compute_dtype)
        return products if self.bias is None else products + self.bias

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output and `[C, n, m]`."""
        memory, n, m = states
        # Not split at places: Keras makes a tensor of them, which torch.export cannot look into.
        end = 4 * self.units
        vectors, gates = projected[..., :end], projected[..., end:]
        *vectors, o = ops.split(vectors, 4, axis=-1)
        by_head = (-1, self.heads, self.units // self.heads)
        q, k, v = (ops.reshape(one, by_head) for one in vectors)
        i, f = ops.split(gates, 2, axis=-1)
        # log(sigmoid(f)) is -softplus(-f), which does not underflow.
        log_f = -ops.softplus(-f) if self.forget_gate == "sigmoid" else f
        kept = log_f + m
        m = ops.maximum(kept, i)
        i, f = ops.exp(i - m)[..., None], ops.exp(kept - m)[..., None]
        memory = f[..., None] * memory + (i * v)[..., None] * k[..., None, :]
        n = f * n + i * k
        h = ops.reshape(self._read(memory, n, m, q), (-1, self.units))
        return ops.sigmoid(o) * h, [memory, n, m]

    def _read(self, memory: Tensor, n: Tensor, m: Tensor, q: Tensor) -> Tensor:
        """`h~`, with a factor of `exp(m)` above and below where `exp(-m)` would overflow.

        At least in float32: the gradients of a quotient have the square of what is below.
        """
        least = _LEAST.get(self.compute_dtype, 1e-6)
        memory, n, m, q = map(_precise, (memory, n, m, q))
        low = ops.minimum(m, 0.0)
        factor, one = ops.exp(low), ops.maximum(ops.exp(low - m), least)
        below = ops.maximum(ops.abs(ops.sum(n * q, axis=-1)) * factor, one)
        above = ops.squeeze(ops.matmul(memory, q[..., None]), -1) * factor[..., None]
        return ops.cast(above / below[..., None], self.compute_dtype)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        exponential = {"units": 4, "heads": 2, "forget_gate": "exponential"}
        return Card(
            [Case({"units": 3}, name="default"), Case(exponential, name="exponential, heads")],
            others={"heads": 3, "forget_gate": "exponential"},
            gates="input, forget, output",
            learning=Learning(lambda at: {"heads": 4}, depth=2, multiple=4),
        )


def _precise(tensor: Tensor) -> Tensor:
    """In float32, or float64 if that is what there is."""
    is_double = keras.backend.standardize_dtype(tensor.dtype) == "float64"
    return ops.cast(tensor, "float64" if is_double else "float32")
