"""The linear recurrent unit: a diagonal complex matrix between two dense real ones.

Complex numbers are pairs of real ones throughout: the backends differ in what they can
do with complex tensors, and Keras has no complex weights. In the state the pair is the
last axis; in the matrices real and imaginary parts are blocks, so that an initializer
sees two axes and draws both parts apart from each other.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import initializers, ops

from kcells import Card, Case, Learning, LinearRecurrence, Place, WeightsCell
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Structure, Tensor

__all__ = ["LRUCell"]

_TINY = 1e-7
"""How near to the ends of (0, 1) a random number may come: its logarithm is taken."""


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class LRUCell(WeightsCell):
    """A linear recurrence with a diagonal complex matrix, and a real read-out.

        x_t = Lambda * x_{t-1} + exp(gamma_log) * (B u_t)
        y_t = Re(C x_t) + D u_t

        Lambda = exp(-exp(nu_log) + i exp(theta_log))

    `x_t`, `Lambda`, `B` and `C` are complex, all else is real. However the weights
    change, `|Lambda|` stays below 1.

    `Lambda` starts uniformly distributed over the part of a ring in the complex plane that
    has radii from `r_min` to `r_max` and phases from 0 to `max_phase`. For long sequences
    the paper takes `r_min=0.9`, `r_max=0.999` or nearer to 1, and, where the pattern is
    very long, a `max_phase` such as `pi / 10`. `gamma_log` starts at
    `log(sqrt(1 - |Lambda|^2))`, by which the state has the scale of `B u_t` whatever the
    radius.

    Paper: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu and De 2023, "Resurrecting
    Recurrent Neural Networks for Long Sequences", arXiv:2303.06349: section 3, and the
    code in its appendix.

    Differences: `D` is a matrix by default, as in the paper's equations, so that `units`
    need not be the number of features. The paper's code has a vector there, standard
    normal: `feedthrough="diagonal"`. There is no non-linearity here: the paper puts one
    between two such layers, and normalization and a skip connection around each.

    Args:
        units: the size of the output, a positive int.
        state_units: the number of complex numbers in the state, a positive int. Default:
            None, which is `units`.
        r_min, r_max: between which radii `Lambda` starts, `0 <= r_min <= r_max <= 1`.
            Default: 0 and 1.
        max_phase: up to which phase, a positive float. Default: 6.28, which is the
            paper's code.
        feedthrough: what `D` is: `"matrix"`, `"diagonal"` for a number a feature, or None
            for nothing. Default: `"matrix"`.
        kernel_initializer: for `kernel`, which is `B`. Default: None, which is the paper's:
            normal, both parts with the variance `1 / (2 * features)`.
        output_initializer: for `output_kernel`, which is `C`. Default: None, which is the
            paper's: normal, both parts with the variance `1 / state_units`.
        feedthrough_initializer: for `feedthrough_kernel`, which is `D`. Default: None:
            normal with the variance 1 if it is diagonal, which is the paper's, and
            `1 / features` if it is a matrix.
        kernel_regularizer, output_regularizer, feedthrough_regularizer: for the weights
            that the initializers of these names are for. Default: None.
        kernel_constraint, output_constraint, feedthrough_constraint: the same. Default:
            None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for the initial `Lambda` and the dropout mask, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: the inputs of one step, `u`.
        states: `[x]`.
        training: whether dropout is on.

    Shapes: inputs `(batch, features)`; `x` `(batch, state_units, 2)`, real and imaginary
    part in the last axis; the output, `y`, `(batch, units)`.
    Weights: `nu_log`, `theta_log` and `gamma_log` `(state_units,)`; `kernel`
    `(features, 2 * state_units)`, the blocks Re(B), Im(B); `output_kernel`
    `(2 * state_units, units)`, the blocks Re(C), Im(C); `feedthrough_kernel`
    `(features, units)` or `(units,)`. In half precision a `|Lambda|` close to 1 is rounded
    to 1, or away from it: give a cell with a long memory `dtype="float32"`.

    Raises:
        ConfigurationError: if `units`, `state_units`, a radius, `max_phase`, `feedthrough`
            or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or
            a diagonal does not fit them.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import LRUCell
    >>> layer = kcells.RNN(LRUCell(4, state_units=8, r_min=0.9), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[:3]}
    {'nu_log': (8,), 'theta_log': (8,), 'gamma_log': (8,)}
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[3:]}
    {'kernel': (3, 16), 'output_kernel': (16, 4), 'feedthrough_kernel': (3, 4)}
    """

    def __init__(
        self,
        units: int,
        state_units: int | None = None,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 6.28,
        feedthrough: str | None = "matrix",
        kernel_initializer: Any = None,
        output_initializer: Any = None,
        feedthrough_initializer: Any = None,
        kernel_regularizer: Any = None,
        output_regularizer: Any = None,
        feedthrough_regularizer: Any = None,
        kernel_constraint: Any = None,
        output_constraint: Any = None,
        feedthrough_constraint: Any = None,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, _next(seed, 2), **kwargs)
        self.seed = seed  # dropout has another, as radius and phase have
        self.units = self.positive("units", units)
        state_units = units if state_units is None else state_units
        self.state_units = self.positive("state_units", state_units)
        _check_ring(r_min, r_max, max_phase)
        if feedthrough not in ("matrix", "diagonal", None):
            raise ConfigurationError(
                'LRUCell: feedthrough must be "matrix", "diagonal" or None;'
                f" received {feedthrough!r}."
            )
        self.r_min, self.r_max, self.max_phase = r_min, r_max, max_phase
        self.feedthrough = feedthrough
        # Two blocks in a column of C: the variance 1 / state_units is 2 / fan_in.
        self.keep_part(
            "kernel", kernel_initializer or _normal(0.5), kernel_regularizer, kernel_constraint
        )
        self.keep_part(
            "output", output_initializer or _normal(2.0), output_regularizer, output_constraint
        )
        if feedthrough_initializer is None:
            is_diagonal = feedthrough == "diagonal"
            feedthrough_initializer = (
                initializers.RandomNormal(stddev=1.0) if is_diagonal else _normal(1.0)
            )
        self.keep_part(
            "feedthrough", feedthrough_initializer, feedthrough_regularizer, feedthrough_constraint
        )
        self.state_size = [(state_units, 2)]
        self.output_size = units
        # One seed for both would tie the phase to the radius. Each gives the same numbers
        # whenever it is called, by which `gamma_log` can start from the radii of `nu_log`.
        self._draw_radii = initializers.RandomUniform(0.0, 1.0, seed=seed)
        self._draw_phases = initializers.RandomUniform(0.0, 1.0, seed=_next(seed, 1))

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`."""
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 2:
            raise StructureError(
                "LRUCell: the inputs of a step must be one tensor of"
                f" (batch, features); received the shape {input_shape!r}."
            )
        features, width = input_shape[-1], 2 * self.state_units
        if self.feedthrough == "diagonal" and features != self.units:
            raise StructureError(
                'LRUCell: feedthrough="diagonal" needs as many features as units; received'
                f' {features} features and units={self.units}. Use feedthrough="matrix".'
            )
        self.nu_log = self._add_exponent("nu_log", self._initial_nu_log)
        self.theta_log = self._add_exponent("theta_log", self._initial_theta_log)
        self.gamma_log = self._add_exponent("gamma_log", self._initial_gamma_log)
        self.kernel = self.add("kernel", (features, width))
        self.output_kernel = self.add("output_kernel", (width, self.units))
        if self.feedthrough is not None:
            shape = (features, self.units) if self.feedthrough == "matrix" else (self.units,)
            self.feedthrough_kernel = self.add("feedthrough_kernel", shape)
        self.input_dropout.build((None, features))

    def _add_exponent(self, name: str, initializer: Any) -> Any:
        """A weight that keeps its precision until the exponentials are taken."""
        shape = (self.state_units,)
        return self.add_weight(shape=shape, initializer=initializer, name=name, autocast=False)

    def _initial_nu_log(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return ops.cast(ops.log(self._initial_nu(shape, dtype)), dtype)

    def _initial_theta_log(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        shares = self._draw_phases(shape, dtype=_at_least_single(dtype))
        return ops.cast(ops.log(self.max_phase * ops.maximum(shares, _TINY)), dtype)

    def _initial_gamma_log(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        # exp(-2 nu) is |Lambda|^2; expm1 keeps the digits of 1 - |Lambda|^2 near zero.
        nu = self._initial_nu(shape, dtype)
        return ops.cast(0.5 * ops.log(-ops.expm1(-2.0 * nu)), dtype)

    def _initial_nu(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        """`-log |Lambda|`; the squares of the radii are uniformly distributed."""
        smallest, largest = self.r_min**2, self.r_max**2
        shares = self._draw_radii(shape, dtype=_at_least_single(dtype))
        squares = ops.clip(shares * (largest - smallest) + smallest, _TINY, 1.0 - _TINY)
        return -0.5 * ops.log(squares)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`exp(gamma_log) * (B u)`, `(..., state_units, 2)`, and `D u` if there is `D`."""
        inputs = self.input_dropout.drop(inputs, training)
        gamma = ops.cast(ops.exp(self.gamma_log), self.compute_dtype)
        parts = ops.split(ops.matmul(inputs, self.kernel), 2, axis=-1)
        driven = ops.stack([gamma * part for part in parts], axis=-1)
        if self.feedthrough is None:
            return [driven]
        if self.feedthrough == "diagonal":
            return [driven, inputs * self.feedthrough_kernel]
        return [driven, ops.matmul(inputs, self.feedthrough_kernel)]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`x_t = Lambda * x_{t-1} + driven_t`, as complex numbers."""
        radius, phase = ops.exp(-ops.exp(self.nu_log)), ops.exp(self.theta_log)
        eigenvalues = ops.stack([radius * ops.cos(phase), radius * ops.sin(phase)], axis=-1)
        eigenvalues = ops.cast(eigenvalues, self.compute_dtype)
        return LinearRecurrence([eigenvalues], [projected[0]], self._read_out, "complex")

    def _read_out(self, states: list[Tensor], projected: list[Tensor]) -> Tensor:
        """`Re(C x) + D u`."""
        (x,) = states
        parts = ops.concatenate([x[..., 0], -x[..., 1]], axis=-1)
        outputs = ops.matmul(parts, self.output_kernel)
        return outputs if self.feedthrough is None else outputs + projected[1]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 3, "state_units": 5, "feedthrough": "diagonal"}, name="diagonal"),
                Case({"units": 4, "state_units": 2, "feedthrough": None}, name="no feedthrough"),
            ],
            others={
                "state_units": 5,
                "r_min": 0.4,
                "r_max": 0.9,
                "max_phase": 0.3,
                "feedthrough": "diagonal",
            },
            gates="",
            learning=Learning(_slow, depth=2, activation="gelu"),
        )


def _check_ring(r_min: Any, r_max: Any, max_phase: Any) -> None:
    for name, value in (("r_min", r_min), ("r_max", r_max), ("max_phase", max_phase)):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ConfigurationError(f"LRUCell: {name} must be a float; received {value!r}.")
    if not 0 <= r_min <= r_max <= 1:
        raise ConfigurationError(
            "LRUCell: the radii must be 0 <= r_min <= r_max <= 1;"
            f" received r_min={r_min!r}, r_max={r_max!r}."
        )
    if not 0 < max_phase < float("inf"):
        raise ConfigurationError(
            f"LRUCell: max_phase must be a positive float; received {max_phase!r}."
        )


def _normal(scale: float) -> Any:
    """A normal distribution with the variance `scale / fan_in`."""
    return initializers.VarianceScaling(scale, "fan_in", "untruncated_normal")


def _at_least_single(dtype: Any) -> str:
    """The dtype to compute initial values in: half precision has no numbers near 1."""
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def _next(seed: int | None, offset: int) -> int | None:
    return None if seed is None else seed + offset


def _slow(at: Place) -> dict[str, float]:
    """For long sequences the paper starts with eigenvalues near 1, of small phases."""
    is_long = at.length is not None and at.length >= 64
    return {"r_min": 0.9, "r_max": 0.999, "max_phase": 0.314} if is_long else {}
