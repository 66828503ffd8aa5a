"""The liquid time-constant network: neurons whose speed depends on what reaches them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import constraints, initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Tensor

__all__ = ["LTCCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class LTCCell(StandardCell):
    """Neurons that leak, joined by synapses that open with the potential of the sender.

    In a step each `v_j` follows the differential equation

        C_j v_j' = G_j (L_j - v_j) + sum_i w_ij sigmoid(sigma_ij (p_i - mu_ij)) (E_ij - v_j)

    The senders `p` are all neurons, which is `v` itself, and the inputs, which stay what they are
    during the step: `a x_t + b`, entry by entry. The step takes `time_t`, in `ode_unfolds` parts
    of a length `d`. Each of them is a semi-implicit step of Euler's: with the sums `s^k_j` of
    `w_ij sigmoid(...)` and `e^k_j` of `w_ij sigmoid(...) E_ij`, for `v^k` at its beginning,

        d = time_t / ode_unfolds
        v^0 = v_{t-1}
        v^{k+1}_j = (C_j v^k_j + d (G_j L_j + e^k_j)) / (C_j + d (G_j + s^k_j + epsilon))
        v_t = v^{ode_unfolds}

    With `timed=True`, `time_t` is the last entry of the inputs, and no part of `x_t`; otherwise
    it is 1.

    Paper: Hasani, Lechner, Amini, Rus and Grosu 2021, "Liquid Time-constant Networks", AAAI,
    arXiv:2006.04439, with its fused solver. Its `v' = -(1 / tau + f) v + f A` leaves open what
    `f` is; the synapses here are those of the authors' code.

    Differences: ncps, by the same authors, also has an affine map of the outputs by default,
    which is `output_mapping=True`. Its wirings other than everything to everything are not here,
    nor its softplus in place of constraints. Its cell for Keras, in 1.0.1, fails when it is given
    times. The weights start as in ncps. The code of the paper has a weight in the place of `C / d`,
    which knows of no time nor `ode_unfolds`, and no `epsilon`. There `C / d` starts at 0.5 (here
    from 2.4 to 3.6, by default), `G` at 1, `w` from 0.01 up, and `E` has both signs equally often;
    `C / d`, `G` and `w` are kept in ranges above 0.

    Of a change of `v`, a step of time 1 leaves some 5 % at most while the weights are as they
    start, with 8 neurons or 50: to remember over many steps take `timed=True`, with shorter times.

    Args:
        units: the number of neurons, a positive int.
        ode_unfolds: the parts of a step, a positive int. Default: 6.
        epsilon: added to the divisor, a float of at least 0. Default: 1e-8.
        input_mapping: whether there are `a` and `b`. Default: True.
        output_mapping: whether the output is `v` times a weight plus a bias. Default: False.
        timed: whether the last entry of the inputs is a time. Default: False.
        use_bias: whether these maps have biases. Default: True.
        kernel_initializer: for `w` from the inputs. Default: None, uniform from 0.001 to 1.
        recurrent_initializer: for `w` from the neurons. Default: None, the same.
        kernel_constraint, recurrent_constraint: for the same. Default: `"non_neg"`; below 0 the
            divisor may become 0.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`, or `(batch, features + 1)` with `timed=True`; states
    `[v]`; `v` and the output `(batch, units)`. Weights: `kernel`, `mu_inputs`, `sigma_inputs` and
    `reversal_inputs`, which is `E`, `(features, units)`; `recurrent_kernel`, `mu`, `sigma` and
    `reversal` `(units, units)`, a row a sender; `capacitance`, `leak` and `rest`, which are `C`
    and `G`, both kept from falling below 0, and `L`, `(units,)`; `input_scale` and `bias`
    `(features,)`; `output_scale` and `bias_output` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `ode_unfolds`, `epsilon` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or hold
            nothing but a time; or if a call has other features than the cell was built for.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("ltc", 4, timed=True, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    """

    def __init__(
        self,
        units: int,
        ode_unfolds: int = 6,
        epsilon: float = 1e-8,
        input_mapping: bool = True,
        output_mapping: bool = False,
        timed: bool = False,
        kernel_initializer: Any = None,
        recurrent_initializer: Any = None,
        kernel_constraint: Any = "non_neg",
        recurrent_constraint: Any = "non_neg",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            kernel_initializer=kernel_initializer or _uniform(0.001, 1.0),
            recurrent_initializer=recurrent_initializer or _uniform(0.001, 1.0),
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            **kwargs,
        )
        if not isinstance(epsilon, (int, float)) or not epsilon >= 0.0:
            raise ConfigurationError(
                f"LTCCell: epsilon must be a float of at least 0; received {epsilon!r}."
            )
        self.ode_unfolds = self.positive("ode_unfolds", ode_unfolds)
        self.epsilon, self.timed = epsilon, timed
        self.input_mapping, self.output_mapping = input_mapping, output_mapping

    def add_weights(self, features: int) -> None:
        """Makes the synapses of both kinds, the neurons, and the maps."""
        features -= int(self.timed)
        if features < 1:
            raise StructureError(
                "LTCCell: with timed=True the inputs of a step must have a time and at least one"
                " more feature; received 1 feature."
            )
        units = self.units
        self.kernel = self.add("kernel", (features, units))
        self.of_inputs = self._add_synapses("_inputs", features)
        self.recurrent_kernel = self.add("recurrent_kernel", (units, units))
        self.of_state = self._add_synapses("", units)
        positive = constraints.NonNeg()
        self.capacitance = self._add("capacitance", units, _uniform(0.4, 0.6), positive)
        self.leak = self._add("leak", units, _uniform(0.001, 1.0), positive)
        self.rest = self._add("rest", units, _uniform(-0.2, 0.2))
        if self.input_mapping:
            self.input_scale = self._add("input_scale", features, "ones")
            self.bias = self.add("bias", (features,))
        if self.output_mapping:
            self.output_scale = self._add("output_scale", units, "ones")
            self.bias_output = self.add("bias_output", (units,))

    def _add(self, name: str, size: int, initializer: Any, constraint: Any = None) -> Any:
        return self.add_weight(
            shape=(size,), name=name, initializer=initializer, constraint=constraint
        )

    def _add_synapses(self, end: str, senders: int) -> list[Any]:
        """`mu`, `sigma` and `E`."""
        starts = {"mu": _uniform(0.3, 0.8), "sigma": _uniform(3.0, 8.0), "reversal": _signs}
        return [
            self.add_weight(shape=(senders, self.units), name=name + end, initializer=start)
            for name, start in starts.items()
        ]

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the inputs add to the sums `s` and `e`, and the length of a part."""
        self._check(inputs.shape[-1])
        x = ops.cast(self.input_dropout.drop(inputs, training), self.compute_dtype)
        time = ops.cast(inputs[..., -1:], self.compute_dtype)
        x, time = (x[..., :-1], time) if self.timed else (x, ops.ones_like(time))
        if self.input_mapping:
            x = _affine(x, self.input_scale, self.bias)
        return [*_sums(x, self.kernel, *self.of_inputs), time / self.ode_unfolds]

    def _check(self, found: int | None) -> None:
        """No matrix meets the inputs: one feature would serve as each of several."""
        wanted = self.kernel.shape[0] + int(self.timed)
        if found not in (wanted, None):
            time = ", the last of them a time" if self.timed else ""
            raise StructureError(
                f"LTCCell: the inputs have {found} features, but the cell was built for"
                f" {wanted}{time}; pass as many, or make another cell for these."
            )

    def step(
        self, projected: list[Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output and `[v]`."""
        open_inputs, driven_inputs, part = projected
        (v,) = states
        for _ in range(self.ode_unfolds):
            seen = self.dropped(v, training)
            opened, driven = _sums(seen, self.recurrent_kernel, *self.of_state)
            above = self.leak * self.rest + driven + driven_inputs
            below = self.leak + opened + open_inputs + self.epsilon
            v = (self.capacitance * v + part * above) / (self.capacitance + part * below)
        return _affine(v, self.output_scale, self.bias_output) if self.output_mapping else v, [v]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        more = {"ode_unfolds": 2, "input_mapping": False, "output_mapping": True, "timed": True}
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, **more}, name="timed", sample=_timed),
                Case({"units": 3, "use_bias": False, "output_mapping": True}, name="no bias"),
            ],
            others={"ode_unfolds": 2, "epsilon": 0.001},
            gates="",
            also_in="ncps",
            learning=Learning(lambda at: {"timed": True, "ode_unfolds": 1}, adapt=_with_the_time),
        )


def _sums(p: Tensor, w: Any, mu: Any, sigma: Any, reversal: Any) -> list[Tensor]:
    """What all senders open, `s`, and where they drive the receivers, `e`."""
    opened = w * ops.sigmoid(sigma * (p[..., None] - mu))
    return [ops.sum(opened, axis=-2), ops.sum(opened * reversal, axis=-2)]


def _affine(x: Tensor, scale: Any, bias: Any) -> Tensor:
    return x * scale if bias is None else x * scale + bias


def _uniform(low: float, high: float) -> Any:
    return initializers.RandomUniform(low, high)


def _signs(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """1 twice as often as -1."""
    numbers = _uniform(0.0, 3.0)(shape, dtype="float32")
    return ops.cast(ops.where(numbers < 1.0, -1.0, 1.0), dtype)


def _timed(rng: np.random.Generator, batch: int, time: int) -> np.ndarray[Any, Any]:
    """Inputs whose last entry is no less than zero, as a time is."""
    inputs = rng.normal(size=(batch, time, 3)).astype("float32")
    inputs[..., -1] = np.abs(inputs[..., -1])
    return inputs


def _with_the_time(steps: Tensor) -> Tensor:
    """Beside the features of each step how long it lasts; a sequence is one unit of time.

    With one unit for each step nothing would be left of the last one.
    """
    return ops.pad(steps, ((0, 0), (0, 0), (0, 1)), constant_values=1.0 / steps.shape[1])
