"""What a cell needs in order to take part, where it is not just a number of units.

A cell without an entry is made with its units, learns with the rate of the problem, sees
each step as a vector, and takes part in every problem.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

import kcells

__all__ = ["SETTINGS", "Setting", "layer_of", "setting_of"]


@keras.saving.register_keras_serializable(package="kcells-benchmarks")
class TimeStamps(keras.layers.Layer):
    """Says of every step when it is: 0, 1, 2 and so on."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> dict[str, Any]:
        """`{"features": inputs, "time": ...}`."""
        zeros = ops.zeros_like(inputs[..., :1])
        count = ops.arange(inputs.shape[1], dtype=zeros.dtype)
        return {"features": inputs, "time": zeros + count[:, None]}

    def compute_mask(self, inputs: Any, mask: Any = None) -> dict[str, Any]:
        """That of the inputs, for both."""
        return {"features": mask, "time": mask}


@keras.saving.register_keras_serializable(package="kcells-benchmarks")
class Beside(keras.layers.Layer):
    """Puts one number behind the features of every step.

    Args:
        number: the number.
    """

    def __init__(self, number: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """`(batch, time, features + 1)`."""
        return ops.pad(inputs, ((0, 0), (0, 0), (0, 1)), constant_values=self.number)

    def get_config(self) -> dict[str, Any]:
        """The argument of the constructor."""
        return {**super().get_config(), "number": self.number}


def _as_it_is(steps: Any) -> Any:
    return steps


def _vector_and_matrix(row: Any) -> tuple[Any, Any]:
    return row, ops.reshape(row, (-1, *row.shape[1:-1], 2, row.shape[-1] // 2))


def _left_and_right(row: Any) -> dict[str, Any]:
    middle = row.shape[-1] // 2
    return {"left": row[..., :middle], "right": row[..., middle:]}


def _frames(row: Any) -> Any:
    """Each step is a picture of one axis, with one channel."""
    return row[..., None]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a layer is in a model.

    Attributes:
        units: of the cell.
        length: the number of time steps.
        features: of each of them.
        layer: how many layers of the cell are before it.
    """

    units: int
    length: int
    features: int
    layer: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """How one cell takes part.

    Attributes:
        arguments: of the cell's constructor, without `units`, from where the layer is.
        adapt: from a sequence of vectors to the structure that the cell takes.
        encoded: whether a Dense layer first makes as many features as units, for cells
            that mix inputs and state entry by entry.
        depth: how many layers of the cell a model has. Two where the units of a cell do
            not see each other: what one layer has found, only the next can combine, and
            the papers stack them too.
        multiple: what the number of units must be a multiple of.
        problems: those that the cell takes part in; empty for all.
        activation: what follows each layer, for cells that are linear altogether.
        rates: factors on the learning rate, by problem.
    """

    arguments: Callable[[Place], Mapping[str, Any]] = lambda at: {}
    adapt: Callable[[Any], Any] = _as_it_is
    encoded: bool = False
    depth: int = 1
    multiple: int = 1
    problems: tuple[str, ...] = ()
    activation: str | None = None
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _near_the_identity(at: Place) -> dict[str, Any]:
    """The factors of all inputs are near 1 at first, by the constant that is their last entry.

    What an Embedding gives is near 0, and so would be the product with the state.
    """

    def initializer(shape: tuple[int, ...], dtype: Any = None) -> Any:
        additive = keras.initializers.GlorotUniform()((shape[0], at.units), dtype)
        factors = keras.random.normal((shape[0], shape[1] - at.units), 0.0, 0.1, dtype)
        constant = ops.one_hot(ops.full((1,), shape[0] - 1), shape[0], axis=0, dtype=dtype)
        return ops.concatenate([additive, factors + constant], axis=1)

    return {"kernel_initializer": initializer}


def _bounded(at: Place) -> dict[str, Any]:
    """As the paper has it: relu, without a bound, grows until it is no number."""
    from kcells_plugin_classic import MaxAbsolute

    return {"recurrent_constraint": MaxAbsolute(2.0 ** (1.0 / at.length))}


def _slow(at: Place) -> dict[str, float]:
    """For long sequences the paper starts with eigenvalues near 1, of small phases."""
    return {"r_min": 0.9, "r_max": 0.999, "max_phase": 0.314} if at.length >= 64 else {}


def _fast(at: Place) -> dict[str, float]:
    """For short sequences: where the decay starts in the authors' code, not in their paper."""
    return {"r_min": 0.43, "r_max": 0.992} if at.length < 64 else {}


def _oscillating(at: Place) -> dict[str, float]:
    """The steps in time have to add up to something; the other numbers are the paper's.

    It has them for the adding problem of 500 steps; the defaults are for digits of 784.
    """
    if at.length == 200:
        return {"dt": 0.06, "gamma": 66.0, "epsilon": 15.0}
    return {"dt": 0.042 if at.length > 100 else 0.25}


_ROWS = ("rows",)
_DEEP = Setting(depth=2)
_WITHIN_A_STEP = Setting(
    # Blocks of four features, where there are several.
    lambda at: {"feature_size": 4, "frequency_skip": 4} if at.features > 4 else {}
)
_ON_FRAMES = Setting(
    lambda at: {"kernel_size": 3, "padding": "same"},
    adapt=_frames,
    problems=_ROWS,
)

SETTINGS: Mapping[str, Setting] = {
    **dict.fromkeys(("indy_gru", "indy_lstm", "min_gru", "min_lstm", "qrnn", "sru"), _DEEP),
    # The paper has lower bounds from 0 in the first layer to near 1 in the last.
    "hgru": Setting(lambda at: {"lower_bound": at.layer * (1 - 4 / at.length)}, depth=2),
    "indrnn": Setting(_bounded, depth=2),
    # Four heads, as the authors have; with one, all would forget equally fast at first.
    "xlstm_mlstm": Setting(lambda at: {"heads": 4}, depth=2, multiple=4),
    "unicornn": Setting(lambda at: {"dt": 0.1 if at.length > 100 else 0.5}, depth=2),
    "lru": Setting(_slow, depth=2, activation="gelu"),
    "rg_lru": Setting(_fast, depth=2, encoded=True),
    "s5": Setting(depth=2, encoded=True, activation="gelu"),
    **dict.fromkeys(("bidirectional_grid_lstm", "grid_lstm", "time_freq_lstm"), _WITHIN_A_STEP),
    **dict.fromkeys(("conv_gru", "conv_lstm"), _ON_FRAMES),
    # As every other LSTM here starts.
    **dict.fromkeys(("ln_lstm", "mi_lstm"), Setting(lambda at: {"unit_forget_bias": True})),
    "cfc": Setting(lambda at: {"backbone_units": 2 * at.units}),
    "cornn": Setting(_oscillating, rates={"adding": 4.0}),
    "glstm": Setting(encoded=True, multiple=2),
    "intersection_rnn": Setting(encoded=True),
    "janet": Setting(lambda at: {"max_time": float(at.length)}),
    # A sequence lasts one unit of time: with one for each step nothing is left of the last one.
    "ltc": Setting(
        lambda at: {"timed": True, "ode_unfolds": 1},
        adapt=lambda steps: Beside(1.0 / steps.shape[1])(steps),
    ),
    "mrnn": Setting(_near_the_identity, adapt=Beside(1.0)),
    "lmu": Setting(lambda at: {"order": at.units, "theta": float(at.length)}),
    "nested": Setting(
        lambda at: {"unit_2": 2, "unit_3": max(1, at.units // 2)},
        adapt=_vector_and_matrix,
        multiple=2,
        problems=_ROWS,
    ),
    "parallel": Setting(adapt=_left_and_right, problems=_ROWS),
    "phased_lstm": Setting(adapt=lambda steps: TimeStamps()(steps)),
}


def setting_of(name: str) -> Setting:
    """The setting of a cell, by its id."""
    return SETTINGS.get(name, Setting())


def layer_of(name: str, units: int, steps: Any, number: int, return_sequences: bool) -> Any:
    """The layer of the cell for these steps that has `number` layers before it."""
    if name == "parallel":
        first: Any = {"left": kcells.cell("lstm", units), "right": kcells.cell("gru", units)}
    else:
        first = units
    place = Place(units, *steps.shape[1:], number)
    further = setting_of(name).arguments(place)
    return kcells.build(name, first, return_sequences=return_sequences, **further)
