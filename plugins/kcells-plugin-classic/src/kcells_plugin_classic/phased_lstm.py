"""The phased LSTM: units that open for a part of a rhythm of their own.

The time gate depends on the time stamps alone, so it is in `project_inputs`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Structure, Tensor

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PhasedLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class PhasedLSTMCell(StandardCell):
    """An LSTM for events in continuous time, whose units open at times of their own.

        phi_t = fraction((time_t - shift) / period)
        k_t = 2 phi_t / open_ratio          if phi_t < open_ratio / 2
              2 - 2 phi_t / open_ratio      if open_ratio / 2 <= phi_t < open_ratio
              leak * phi_t                  otherwise

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f h_{t-1} + p_f * c_{t-1} + b_f)
        g_t = activation(W_g x_t + U_g h_{t-1} + b_g)
        d_t = f_t * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + p_o * d_t + b_o)

        c_t = k_t * d_t + (1 - k_t) * c_{t-1}
        h_t = k_t * (o_t * activation(d_t)) + (1 - k_t) * h_{t-1}

    `fraction` is what is above the next smaller whole number. Every unit has a `period`, a
    `shift` and an `open_ratio`, which are trained.

    Paper: Neil, Pfeiffer and Liu 2016, "Phased LSTM: Accelerating Recurrent Network Training
    for Long or Event-based Sequences", arXiv:1610.09513.

    Differences: the peephole of the output gate sees `d_t`, as in the authors' code and in
    `PhasedLSTMCell` of `tf.contrib.rnn`; the paper writes `c_t` for it. The authors' code
    leaves out the leak outside of training; here it is always the same. That code adds the
    shift to the time; here and in `tf.contrib.rnn` it is subtracted. The authors take absolute
    values of period and open ratio, and warn that neither may become negative; here and in
    `tf.contrib.rnn` nothing prevents it. The periods start as the notes on the authors' code
    advise, and the biases as in any cell; `PhasedLSTMCell` of `tf.contrib.rnn` starts with
    `open_ratio=0.1` and periods up to 1000, and its peepholes are full matrices.

    A float32 counts up to 16 million: let the time start near zero. In half precision give
    the cell `dtype="float32"`, or the time stamps are rounded before they get here.

    Args:
        units: the size of the states, a positive int.
        peepholes: whether the gates see the cell. Default: True, as in the paper.
        activation: for the candidate and the output. Default: `"tanh"`.
        open_ratio: the share of a period in which a unit is open, at the start of training,
            above 0 and at most 1. Default: 0.05.
        leak: the slope of the gate while it is shut. Default: 0.001.
        shortest_period, longest_period: between which the periods start, with logarithms
            that are uniformly distributed. Default: 2.72 and 148.
        **kwargs: the other arguments of `kcells.StandardCell`. Those that begin with
            `recurrent_` are for `recurrent_kernel` and `peephole_kernel`.

    Shapes: inputs a dict of `"features"` `(batch, features)` and `"time"` `(batch, 1)`;
    states `[h, c]`; both and the output, which is `h`, `(batch, units)`. Weights: `kernel`
    `(features, 4 * units)`, `recurrent_kernel` `(units, 4 * units)` and `bias`
    `(4 * units,)`, the blocks i, f, g, o; `peephole_kernel` `(3, units)`, the rows i, f, o;
    `period`, `shift` and `open_ratio` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `open_ratio`, a period or a dropout rate is out of
            range.
        StructureError: if the inputs of a step are not this dict, or have several times.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("phased_lstm", 4, return_sequences=True)
    >>> events = {"features": np.ones((2, 5, 3), "float32")}
    >>> events["time"] = np.cumsum(np.random.rand(2, 5, 1), axis=1).astype("float32")
    >>> tuple(layer(events).shape)
    (2, 5, 4)
    """

    def __init__(
        self,
        units: int,
        peepholes: bool = True,
        activation: Any = "tanh",
        open_ratio: float = 0.05,
        leak: float = 0.001,
        shortest_period: float = 2.72,
        longest_period: float = 148.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if not 0.0 < open_ratio <= 1.0:
            raise ConfigurationError(
                "PhasedLSTMCell: open_ratio must be above 0 and at most 1; received"
                f" {open_ratio!r}."
            )
        if not 0.0 < shortest_period <= longest_period:
            raise ConfigurationError(
                "PhasedLSTMCell: it must be 0 < shortest_period <= longest_period; received"
                f" shortest_period={shortest_period!r}, longest_period={longest_period!r}."
            )
        self.peepholes = peepholes
        self.activation = activations.get(activation)
        self.open_ratio = open_ratio
        self.leak = leak
        self.shortest_period = shortest_period
        self.longest_period = longest_period
        self.state_size = [units, units]
        # Each gives the same numbers whenever it is called: shifts depend on periods.
        bounds = math.log(shortest_period), math.log(longest_period)
        self._draw_logarithms = initializers.RandomUniform(*bounds)
        self._draw_shares = initializers.RandomUniform(0.0, 1.0)

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for features of `(batch, features)` and times of `(batch, 1)`."""
        is_dict = isinstance(input_shape, dict) and sorted(input_shape) == ["features", "time"]
        if not is_dict or tuple(input_shape["time"])[1:] != (1,):
            raise StructureError(
                'PhasedLSTMCell: the inputs of a step must be {"features": (batch, features),'
                f' "time": (batch, 1)}}; received the shapes {input_shape!r}.'
            )
        super().build(input_shape["features"])

    def add_weights(self, features: int) -> None:
        """Creates the matrices, the peepholes if there are any, and the rhythm."""
        width = 4 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (width,))
        self.peephole_kernel: Any = None
        if self.peepholes:
            self.peephole_kernel = self.add("peephole_kernel", (3, self.units), "recurrent")
        self.periods = self._add_rhythm("period", self._initial_periods)
        self.shifts = self._add_rhythm("shift", self._initial_shifts)
        self.ratios = self._add_rhythm("open_ratio", initializers.Constant(self.open_ratio))

    def _add_rhythm(self, name: str, initializer: Any) -> Any:
        """A weight that keeps its precision until the gate is known."""
        shape = (self.units,)
        return self.add_weight(shape=shape, initializer=initializer, name=name, autocast=False)

    def _initial_periods(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return ops.exp(self._draw_logarithms(shape, dtype))

    def _initial_shifts(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return self._draw_shares(shape, dtype) * self._initial_periods(shape, dtype)

    def project_inputs(
        self, inputs: dict[str, Tensor], training: bool = False
    ) -> dict[str, Tensor]:
        """`W x + b`, `(..., 4 * units)`, and how far each unit is open, `(..., units)`."""
        # More than one would serve as many units.
        if inputs["time"].shape[-1] not in (1, None):
            raise StructureError(
                'PhasedLSTMCell: "time" must be (batch, 1) in a step, one time for all units;'
                f" received {inputs['time'].shape[-1]}. Pass one."
            )
        products = super().project_inputs(inputs["features"], training=training)
        return {"products": products, "open": self._openness(inputs["time"])}

    def _openness(self, time: Tensor) -> Tensor:
        """`k`, `(..., units)`, from times `(..., 1)`."""
        periods, shifts, ratios = map(
            ops.convert_to_tensor, (self.periods, self.shifts, self.ratios)
        )
        turns = (ops.cast(time, periods.dtype) - shifts) / periods
        phase = turns - ops.floor(turns)
        rise = 2.0 * phase / ratios
        shut = ops.where(phase < ratios, 2.0 - rise, self.leak * phase)
        return ops.cast(ops.where(phase < 0.5 * ratios, rise, shut), self.compute_dtype)

    def step(
        self, projected: dict[str, Tensor], states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        (h, c), k = states, projected["open"]
        products = ops.matmul(self.dropped(h, training), self.recurrent_kernel)
        i, f, g, o = ops.split(projected["products"] + products, 4, axis=-1)
        if self.peephole_kernel is not None:
            i, f = i + self.peephole_kernel[0] * c, f + self.peephole_kernel[1] * c
        proposed = ops.sigmoid(f) * c + ops.sigmoid(i) * self.activation(g)
        if self.peephole_kernel is not None:
            o = o + self.peephole_kernel[2] * proposed
        shown = ops.sigmoid(o) * self.activation(proposed)
        h, c = k * shown + (1 - k) * h, k * proposed + (1 - k) * c
        return h, [h, c]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        often = {"units": 4, "open_ratio": 0.6, "shortest_period": 1.0, "longest_period": 5.0}
        shapes = {"features": (3,), "time": (1,)}
        return Card(
            [
                Case(often, shapes, "peepholes", _events),
                Case({**often, "peepholes": False, "leak": 0.1}, shapes, "no peepholes", _events),
            ],
            others={"open_ratio": 0.3, "leak": 0.01, "shortest_period": 1.0, "longest_period": 7.0},
            inputs=lambda at: {"features": (at.features,), "time": (1,)},
            gates="input, forget, output, time",
            learning=Learning(adapt=_with_time_stamps),
        )


def _events(rng: np.random.Generator, batch: int, time: int) -> dict[str, Any]:
    """Features, and times that only ever grow."""
    features = rng.normal(size=(batch, time, 3)).astype("float32")
    stamps = rng.uniform(0.2, 1.5, size=(batch, time, 1)).cumsum(axis=1).astype("float32")
    return {"features": features, "time": stamps}


def _with_time_stamps(steps: Tensor) -> dict[str, Tensor]:
    """Says of every step when it is: 0, 1, 2 and so on."""
    zeros = ops.zeros_like(steps[..., :1])
    count = ops.arange(steps.shape[1], dtype=zeros.dtype)
    return {"features": steps, "time": zeros + count[:, None]}
