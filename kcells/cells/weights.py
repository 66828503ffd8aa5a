"""`PartsCell`, `WeightsCell`: weights in parts, each part with an initializer and the like."""

from __future__ import annotations

from numbers import Real
from typing import Any

from keras import activations, constraints, initializers, regularizers

from kcells.cells.base import Cell
from kcells.cells.dropout import VariationalDropout
from kcells.cells.numbers import positive
from kcells.cells.signature import constructor_parameters
from kcells.errors import ConfigurationError
from kcells.types import Structure

__all__ = ["PartsCell", "WeightsCell"]

_SETTINGS = {
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}
_SERIALIZERS: dict[str, Any] = {
    **{f"_{what}": module.serialize for what, module in _SETTINGS.items()},
    "activation": activations.serialize,
}


class PartsCell(Cell):
    """What cells with arguments of their own have in common; see `WeightsCell`."""

    def positive(self, name: str, value: Any) -> int:
        """`value`, which has to be a positive int: the argument `name`."""
        return positive(type(self).__name__, name, value)

    def rate(self, name: str, value: Any) -> Any:
        """`value`, which has to be the share of something that is dropped: the argument `name`."""
        if not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
            raise ConfigurationError(
                f"{type(self).__name__}: {name}: the rate must be at least 0 and less than 1;"
                f" received {value!r}."
            )
        return value

    def keep_part(
        self, part: str, initializer: Any, regularizer: Any = None, constraint: Any = None
    ) -> None:
        """Keeps what the weights of a part get, as `<part>_initializer` and so on."""
        for what, value in zip(_SETTINGS, (initializer, regularizer, constraint), strict=True):
            setattr(self, f"{part}_{what}", _SETTINGS[what].get(value))

    def add(
        self, name: str, shape: tuple[int, ...], part: str | None = None, initializer: Any = None
    ) -> Any:
        """A weight with the initializer, regularizer and constraint of its part.

        Args:
            name: its name.
            shape: its shape.
            part: such as `"kernel"`, `"recurrent"` or `"bias"`; left out, the one that the
                name begins with. Without biases, one of the last is not made.
            initializer: in place of the one of its part.

        Returns:
            The variable; None for a bias where there are none.
        """
        part = name.partition("_")[0] if part is None else part
        if part == "bias" and not getattr(self, "use_bias", True):
            return None
        settings = {what: getattr(self, f"{part}_{what}") for what in _SETTINGS}
        if initializer is not None:
            settings["initializer"] = initializer
        if isinstance(settings["initializer"], initializers.Initializer):
            # Keras' initializers keep their seed: used twice, one gives related weights.
            settings["initializer"] = settings["initializer"].clone()
        return self.add_weight(shape=shape, name=name, **settings)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, those of the subclass too."""
        config: dict[str, Any] = super().get_config()
        for name in constructor_parameters(type(self)):
            value = getattr(self, name)
            serialize = next((f for end, f in _SERIALIZERS.items() if name.endswith(end)), None)
            config[name] = value if serialize is None else serialize(value)
        return config


class WeightsCell(PartsCell):
    """Base class for cells that bring their own arguments, and want them kept and saved.

    The weights of a cell come in parts: those that act on the inputs, say, and those that act
    on the state. Each part has an initializer, a regularizer and a constraint, which
    `keep_part` takes from the arguments, and which `add` gives to a weight. Every argument of
    the constructor is kept in an attribute of its name, and `get_config` then has it.

    Args:
        dropout: the share of the inputs that is dropped, the same at every step: by
            `input_dropout`, which the subclass builds for the inputs and calls. Default: 0.
        seed: an int for what is random, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: as the subclass says.

    Raises:
        ConfigurationError: if the dropout rate is out of range.

    Examples:

    >>> import kcells, numpy as np
    >>> class ScaleCell(kcells.WeightsCell):
    ...     def __init__(self, scale_initializer="ones", **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.keep_part("scale", scale_initializer)
    ...         self.state_size = [3]
    ...     def build(self, input_shape):
    ...         self.scale = self.add("scale", (3,))
    ...     def call(self, inputs, states):
    ...         h = states[0] + self.scale * inputs
    ...         return h, [h]
    >>> layer = kcells.RNN(ScaleCell())
    >>> float(layer(np.ones((2, 5, 3), "float32"))[0, 0])
    5.0
    >>> layer.cell.get_config()["scale_initializer"]["class_name"]
    'Ones'
    """

    def __init__(self, dropout: float = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        rate = self.rate("dropout", dropout)
        self.input_dropout = VariationalDropout(rate, seed=seed, dtype=self.dtype_policy)

    @property
    def dropout(self) -> float:
        """The share of the inputs that is dropped; see `kcells.VariationalDropout.rate`."""
        return self.input_dropout.rate

    @dropout.setter
    def dropout(self, rate: float) -> None:
        self.input_dropout.rate = self.rate("dropout", rate)

    def drop_states(self, rate: float) -> None:
        """Keeps the argument `recurrent_dropout`, and makes `state_dropout`, which `dropped` uses.

        The subclass builds it for the states.
        """
        # One seed for both would draw the same masks wherever inputs and states have one shape.
        seed = None if self.seed is None else self.seed + 1
        rate = self.rate("recurrent_dropout", rate)
        self.state_dropout = VariationalDropout(rate, seed=seed, dtype=self.dtype_policy)

    @property
    def recurrent_dropout(self) -> float:
        """The share of the state that is dropped; see `kcells.VariationalDropout.rate`."""
        return self.state_dropout.rate

    @recurrent_dropout.setter
    def recurrent_dropout(self, rate: float) -> None:
        self.state_dropout.rate = self.rate("recurrent_dropout", rate)

    def dropped(self, states: Structure, training: bool = False) -> Structure:
        """States with the entries dropped that `recurrent_dropout` drops in this sequence."""
        return self.state_dropout.drop(states, training)
