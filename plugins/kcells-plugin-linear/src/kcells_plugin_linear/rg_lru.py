"""The real-gated linear recurrent unit of Griffin: a decay that the input may suspend."""

from __future__ import annotations

from typing import Any

import keras
from keras import initializers, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence, Place
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Tensor

__all__ = ["RGLRUCell"]

_SMALLEST_SQUARE = 1e-12
"""The root of `1 - a^2` has no slope at zero; from here on it is a constant."""


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class RGLRUCell(InputCell):
    """A diagonal linear recurrence whose decay and whose input are gated by the input.

        r_t = sigmoid(W_a x_t + b_a)
        i_t = sigmoid(W_x x_t + b_x)
        a_t = sigmoid(decay)^(power * r_t)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * x_t)

    The state has the size of the inputs, which are no more than gated. The cell is linear in
    its state, and all steps can be computed at once. `decay`, the paper's Lambda, starts so
    that `sigmoid(decay)^power` is uniformly distributed between `r_min` and `r_max`.

    Paper: De, Smith, Fernando et al. 2024, "Griffin: Mixing Gated Linear Recurrences with
    Local Attention for Efficient Language Models", arXiv:2402.19427, section 2.4 and
    appendix A.

    Differences: none in the equations. The authors' code (RecurrentGemma) has block-diagonal
    matrices, takes `x` at the first step of a sequence without the root, starts
    `sigmoid(decay)` itself between both radii, with uniform squares, and stores `-decay`. The
    root is kept from 0, where it has no gradient.

    Args:
        units: the size of the state, a positive int: that of the inputs.
        r_min, r_max: between which numbers `sigmoid(decay)^power` starts,
            `0 < r_min <= r_max < 1`. Default: 0.9 and 0.999, which is the paper's.
        power: the paper's c, a positive float. Default: 8, which is the paper's.
        use_bias: whether both gates have biases. Default: True.
        kernel_initializer: for `kernel`. Default: `"lecun_normal"`, which is the paper's.
        bias_initializer: for `bias`. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for `kernel` and `bias`. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for the initial `decay` and the dropout mask, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: inputs `(batch, units)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(units, 2 * units)` and `bias` `(2 * units,)`, the
    blocks r, i; `decay` `(units,)`. In half precision an `a` close to 1 is rounded: give a
    cell with a long memory `dtype="float32"`.

    Raises:
        ConfigurationError: if `units`, a radius, `power` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, units)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import RGLRUCell
    >>> layer = kcells.RNN(RGLRUCell(3), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 3)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 6), 'bias': (6,), 'decay': (3,)}
    """

    def __init__(
        self,
        units: int,
        r_min: float = 0.9,
        r_max: float = 0.999,
        power: float = 8.0,
        kernel_initializer: Any = "lecun_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, kernel_initializer=kernel_initializer, **kwargs)
        are_numbers = all(isinstance(r, (int, float)) for r in (r_min, r_max))
        if not are_numbers or not 0.0 < r_min <= r_max < 1.0:
            raise ConfigurationError(
                "RGLRUCell: it must be 0 < r_min <= r_max < 1; received"
                f" r_min={r_min!r}, r_max={r_max!r}."
            )
        if not isinstance(power, (int, float)) or not power > 0.0:
            raise ConfigurationError(
                f"RGLRUCell: power must be a positive float; received {power!r}."
            )
        self.r_min, self.r_max, self.power = r_min, r_max, power

    def add_weights(self, features: int) -> None:
        """The matrices and biases of both gates, and the decay."""
        if features != self.units:
            raise StructureError(
                "RGLRUCell: the state has the size of the inputs; received"
                f" {features} features and units={self.units}.\n"
                f"  Pass units={features}, or put a keras.layers.Dense({self.units}) in front."
            )
        self.kernel = self.add("kernel", (features, 2 * self.units))
        self.bias = self.add("bias", (2 * self.units,))
        # It keeps its precision until the exponentials are taken.
        self.decay = self.add_weight(
            shape=(self.units,), name="decay", initializer=self._first_decay, autocast=False
        )

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`a`, and what is added to the state."""
        inputs = ops.cast(self.input_dropout.drop(inputs, training), self.compute_dtype)
        products = ops.matmul(inputs, self.kernel)
        products = products if self.bias is None else products + self.bias
        r, i = ops.split(self._precise(ops.sigmoid(products)), 2, axis=-1)
        # log(sigmoid(x)) is -softplus(-x). All of this in logarithms: a is close to 1.
        log_a = -self.power * r * ops.softplus(-self._precise(self.decay))
        # -expm1(2 log_a), which has its digits near zero too, by what files for ONNX know.
        rest = -ops.tanh(log_a) * (1.0 + ops.exp(2.0 * log_a))
        root = ops.sqrt(ops.maximum(rest, _SMALLEST_SQUARE))
        new = root * i * self._precise(inputs)
        return [ops.cast(part, self.compute_dtype) for part in (ops.exp(log_a), new)]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`h_t = a_t * h_{t-1} + new_t`, of which the output is `h_t`."""
        a, new = projected
        return LinearRecurrence([a], [new], lambda states, projected: states[0])

    def _first_decay(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """The numbers of which `sigmoid^power` is uniformly distributed."""
        uniform = initializers.RandomUniform(self.r_min, self.r_max, seed=self.seed)
        rate = -ops.log(uniform(shape, dtype="float32")) / self.power
        # sigmoid(x) = exp(-rate) for x = -log(exp(rate) - 1).
        return ops.cast(-ops.log(ops.expm1(rate)), dtype)

    def _precise(self, tensor: Tensor) -> Tensor:
        """In float32, or float64 if that is what there is."""
        is_double = keras.backend.standardize_dtype(tensor.dtype) == "float64"
        return ops.cast(tensor, "float64" if is_double else "float32")

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 3}, name="default"),
                Case({"units": 3, "use_bias": False, "power": 1.0, "r_min": 0.1}, name="no bias"),
            ],
            others={"r_min": 0.5, "r_max": 0.75, "power": 2.0},
            inputs=lambda at: (at.units,),
            gates="recurrence, input",
            note="F = U",
            learning=Learning(_fast, depth=2, encoded=True),
        )


def _fast(at: Place) -> dict[str, float]:
    """For short sequences: where the decay starts in the authors' code, not in their paper."""
    is_short = at.length is not None and at.length < 64
    return {"r_min": 0.43, "r_max": 0.992} if is_short else {}
