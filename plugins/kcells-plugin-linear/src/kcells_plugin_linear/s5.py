"""S5: one diagonal state space for all inputs, with steps in time that are trained.

Complex numbers are pairs of real ones, as in `lru.py`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import initializers, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Tensor
from kcells_plugin_linear.hippo import Eigenbasis

__all__ = ["S5Cell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class S5Cell(InputCell):
    """A linear differential equation, exactly solved from step to step, and a real read-out.

        x'(t) = Lambda * x(t) + B u(t)
        y(t) = 2 Re(C x(t)) + D u(t)

    For `u` that is constant over a step (zero-order hold) that is

        d_t = time_t * exp(log_step)
        x_t = exp(Lambda * d_t) * x_{t-1} + (exp(Lambda * d_t) - 1) / Lambda * (B u_t)

    `x`, `Lambda`, `B` and `C` are complex, all else is real. The conjugates of `x` belong to the
    state too: they double the real part. With `conjugate=False` there are none, nor the 2.
    `time_t` is the time since the step before. With `timed=True` it is the last entry of the
    inputs, and no part of `u_t`; otherwise it is 1.

    `Lambda` starts at the eigenvalues of the normal part of the HiPPO-LegS matrix, `blocks`
    times those of a small one, and `B` and `C` as random matrices in the basis of its
    eigenvectors: `V^-1 B` and `C V`. `exp(log_step)` starts between `min_step` and `max_step`,
    its logarithm uniformly distributed.

    Paper: Smith, Warrington and Linderman 2023, "Simplified State Space Layers for Sequence
    Modeling", arXiv:2208.04933, section 3 and appendix B.

    Differences: none in the equations. What the paper leaves open is as in the authors' code:
    `B` and `C` before the change of basis are cut-off normal, with the variance of one part
    `1 / n`, where n is the size of the state with its conjugates. Its bilinear rule and its
    bound for the real parts are not here. In the paper's layer, norm and skip connection are
    around this, and a GELU and a gate after it.

    Args:
        units: the size of the output, a positive int.
        state_units: the number of complex numbers in the state, a positive int. With their
            conjugates they are half of the paper's. Default: None, which is `units`.
        blocks: how many blocks `Lambda` starts as, an int that divides `state_units`.
            Default: 1.
        conjugate: whether the conjugates belong to the state. Default: True.
        min_step, max_step: between which steps in time it starts, `0 < min_step <= max_step`.
            Default: 0.001 and 0.1, which is the paper's.
        feedthrough: what `D` is: `"diagonal"` for a number a feature, which is the paper's and
            needs as many features as units, `"matrix"`, or None. Default: `"diagonal"`.
        timed: whether the last entry of the inputs is a time. Default: False.
        use_bias: whether there is a bias in the output. Default: False.
        kernel_initializer: for `B`, `C` and `D`. Default: None, which is the paper's: `D` is
            normal with the variance 1. As a matrix, it has the variance `1 / features`.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`, or `(batch, features + 1)` with `timed=True`; states
    `[x]`; `x` `(batch, state_units, 2)`, real and imaginary part in the last axis; the output,
    `y`, `(batch, units)`. Weights: `lambda_real`, `lambda_imaginary` and `log_step`
    `(state_units,)`; `kernel` `(features, 2 * state_units)`, the blocks Re(B), Im(B);
    `kernel_output` `(2 * state_units, units)`, the blocks Re(C), Im(C); `kernel_feedthrough`
    `(units,)` or `(features, units)`; `bias` `(units,)`. In half precision a number close to 1 is
    rounded, and small steps make such: give a cell with a long memory `dtype="float32"`.

    Raises:
        ConfigurationError: if `units`, `state_units`, `blocks`, a step, `feedthrough` or the
            dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, hold
            nothing but a time, or do not fit a diagonal.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("s5", 3, state_units=8, blocks=2, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 3)
    """

    def __init__(
        self,
        units: int,
        state_units: int | None = None,
        blocks: int = 1,
        conjugate: bool = True,
        min_step: float = 0.001,
        max_step: float = 0.1,
        feedthrough: Literal["diagonal", "matrix"] | None = "diagonal",
        timed: bool = False,
        use_bias: bool = False,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, use_bias, kernel_initializer=kernel_initializer, **kwargs)
        self.state_units = self.positive(
            "state_units", units if state_units is None else state_units
        )
        self.blocks = self.positive("blocks", blocks)
        if self.state_units % blocks:
            raise ConfigurationError(
                "S5Cell: blocks must divide state_units; received"
                f" blocks={blocks}, state_units={self.state_units}."
            )
        are_numbers = all(isinstance(step, (int, float)) for step in (min_step, max_step))
        if not are_numbers or not 0.0 < min_step <= max_step < float("inf"):
            raise ConfigurationError(
                "S5Cell: it must be 0 < min_step <= max_step; received"
                f" min_step={min_step!r}, max_step={max_step!r}."
            )
        if feedthrough not in ("diagonal", "matrix", None):
            raise ConfigurationError(
                'S5Cell: feedthrough must be "diagonal", "matrix" or None;'
                f" received {feedthrough!r}."
            )
        self.conjugate, self.feedthrough, self.timed = conjugate, feedthrough, timed
        self.min_step, self.max_step = min_step, max_step
        self.state_size = [(self.state_units, 2)]

    def add_weights(self, features: int) -> None:
        """The differential equation, its matrices, and what goes past it."""
        features -= int(self.timed)
        self._check(features)
        size = self.state_units
        basis = Eigenbasis(size, self.blocks, self.conjugate, self._seed_after(1))
        steps = initializers.RandomUniform(
            math.log(self.min_step), math.log(self.max_step), seed=self._seed_after(4)
        )
        self.lambda_real = self._add_rate("lambda_real", initializers.Constant(-0.5))
        self.lambda_imaginary = self._add_rate("lambda_imaginary", basis.imaginary_parts)
        self.log_step = self._add_rate("log_step", steps)
        self.kernel = self._add_kernel("kernel", (features, 2 * size), basis.from_inputs)
        shape: tuple[int, ...] = (2 * size, self.units)
        self.kernel_output = self._add_kernel("kernel_output", shape, basis.to_outputs)
        if self.feedthrough is not None:
            is_diagonal = self.feedthrough == "diagonal"
            shape = (self.units,) if is_diagonal else (features, self.units)
            deviation = 1.0 if is_diagonal else features**-0.5
            first = initializers.RandomNormal(stddev=deviation, seed=self._seed_after(5))
            self.kernel_feedthrough = self._add_kernel("kernel_feedthrough", shape, first)
        self.bias = self.add("bias", (self.units,))

    def _check(self, features: int) -> None:
        if features < 1:
            raise StructureError(
                "S5Cell: with timed=True the inputs of a step must have a time and at least one"
                " more feature; received 1 feature."
            )
        if self.feedthrough == "diagonal" and features != self.units:
            raise StructureError(
                'S5Cell: feedthrough="diagonal" needs as many features as units; received'
                f' {features} features and units={self.units}. Use feedthrough="matrix".'
            )

    def _seed_after(self, offset: int) -> int | None:
        return None if self.seed is None else self.seed + offset

    def _add_rate(self, name: str, initializer: Any) -> Any:
        """A weight that keeps its precision until the exponentials are taken."""
        shape = (self.state_units,)
        return self.add_weight(shape=shape, initializer=initializer, name=name, autocast=False)

    def _add_kernel(self, name: str, shape: tuple[int, ...], first: Any) -> Any:
        return self.add(name, shape, initializer=first if self.kernel_initializer is None else None)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> dict[str, Tensor]:
        """What is added to the state, and where there are such what goes past it and the time."""
        u = ops.cast(self.input_dropout.drop(inputs, training), self.compute_dtype)
        projected: dict[str, Tensor] = {}
        if self.timed:
            u, projected["time"] = u[..., :-1], inputs[..., -1:]
        real, imaginary = ops.split(ops.matmul(u, self.kernel), 2, axis=-1)
        p, q = (ops.cast(part, self.compute_dtype) for part in self._gain(projected))
        driven = [p * real - q * imaginary, p * imaginary + q * real]
        projected["driven"] = ops.stack(driven, axis=-1)
        if self.feedthrough is not None:
            is_diagonal = self.feedthrough == "diagonal"
            past = ops.multiply if is_diagonal else ops.matmul
            projected["past"] = past(u, self.kernel_feedthrough)
        return projected

    def _exponent(self, projected: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`Lambda * d`, real and imaginary part: of all steps, or `(..., state_units)`."""
        d = ops.exp(self.log_step)
        if self.timed:
            d = ops.cast(projected["time"], d.dtype) * d
        return self.lambda_real * d, self.lambda_imaginary * d

    def _gain(self, projected: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`(exp(Lambda * d) - 1) / Lambda`, real and imaginary part."""
        x, y = self._exponent(projected)
        # exp(x) cos(y) - 1 and exp(x) sin(y), with the digits that there are near zero.
        # Without expm1, which files for ONNX from PyTorch do not have.
        less_one = ops.tanh(0.5 * x) * (1.0 + ops.exp(x))
        p = less_one * ops.cos(y) - 2.0 * ops.square(ops.sin(0.5 * y))
        q = ops.exp(x) * ops.sin(y)
        a, b = self.lambda_real, self.lambda_imaginary
        square = a * a + b * b
        return (p * a + q * b) / square, (q * a - p * b) / square

    def linear_recurrence(self, projected: dict[str, Tensor]) -> LinearRecurrence:
        """`x_t = exp(Lambda * d_t) * x_{t-1} + driven_t`, as complex numbers."""
        x, y = self._exponent(projected)
        a = ops.stack([ops.exp(x) * ops.cos(y), ops.exp(x) * ops.sin(y)], axis=-1)
        a = ops.cast(a, self.compute_dtype)
        return LinearRecurrence([a], [projected["driven"]], self._read_out, "complex")

    def _read_out(self, states: list[Tensor], projected: dict[str, Tensor]) -> Tensor:
        """`2 Re(C x) + D u`, and the bias if there is one."""
        (x,) = states
        copies = 2.0 if self.conjugate else 1.0
        parts = copies * ops.concatenate([x[..., 0], -x[..., 1]], axis=-1)
        outputs = ops.matmul(parts, self.kernel_output)
        if "past" in projected:
            outputs = outputs + projected["past"]
        return outputs if self.bias is None else outputs + self.bias

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        whole = {"units": 4, "state_units": 6, "blocks": 2, "conjugate": False}
        more = {"timed": True, "feedthrough": "matrix", "use_bias": True, "max_step": 1.0}
        return Card(
            [
                Case({"units": 3, "state_units": 4}, name="default"),
                Case({**whole, **more}, name="timed", sample=_timed),
                Case({"units": 4, "feedthrough": None, "min_step": 0.01}, name="no feedthrough"),
            ],
            others={
                "state_units": 8,
                "blocks": 2,
                "min_step": 0.25,
                "max_step": 0.5,
                "feedthrough": "matrix",
            },
            inputs=lambda at: (at.units,),
            gates="",
            note="F = U",
            learning=Learning(depth=2, encoded=True, activation="gelu"),
        )


def _timed(rng: np.random.Generator, batch: int, time: int) -> np.ndarray[Any, Any]:
    """Inputs whose last entry is no less than zero, as a time is."""
    inputs = rng.normal(size=(batch, time, 3)).astype("float32")
    inputs[..., -1] = np.abs(inputs[..., -1])
    return inputs
