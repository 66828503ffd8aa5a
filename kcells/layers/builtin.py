"""The LSTM and GRU that the dispatcher hands out.

To the user each is the layer of Keras: an instance of its class, with its arguments,
attributes, weights and configuration. What runs is `kcells.RNN` around the layer's own
cell: the kernels of `engine/fused.py` wherever the machine has one, for any mask, and
the loop where it has none. A model that was built on one machine so runs on another.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import keras

from kcells import stock
from kcells.cells.equivalence import equivalence_of, is_keras_cell, kernel_facts
from kcells.cells.sharing import marked
from kcells.engine.conditions import all_hold, substitution
from kcells.engine.facts import CellFacts
from kcells.engine.options import Dispatch, Options
from kcells.layers.options import split_options
from kcells.layers.rnn import RNN

__all__ = ["GRU", "LSTM", "stand_in"]


class _Builtin(RNN):
    """What both have in common; the subclass names the cell."""

    _make_cell: Any = None
    _cell_name: str = ""

    def __init__(
        self, *args: Any, dispatch: Dispatch = "auto", cell: Any = None, **kwargs: Any
    ) -> None:
        kwargs = {**dict(zip(self._positional(), args, strict=False)), **kwargs}
        # How Keras tells which of its kernels may run; kcells decides by `dispatch`.
        kwargs.pop("use_cudnn", None)
        for_layer, for_cell = split_options(kwargs)
        if cell is None:
            shared = {key: for_layer[key] for key in ("dtype", "trainable") if key in for_layer}
            cell = self._make_cell(**for_cell, **shared, name=self._cell_name)
        super().__init__(cell, dispatch=dispatch, **for_layer)
        self.use_cudnn = "auto"

    @classmethod
    def _positional(cls) -> list[str]:
        """The arguments of Keras' layer in their order, which is not that of the cell's."""
        (layer,) = (c for c in cls.__mro__ if c in (stock.LSTM, stock.GRU))
        return list(inspect.signature(layer).parameters)

    def get_config(self) -> dict[str, Any]:
        """The arguments of Keras' layer, and the policy if it is not the default."""
        # Past RNN, whose configuration holds a cell; here it does if other layers have it too.
        config = {**super(RNN, self).get_config(), **Options.of(self).policies(dispatch="auto")}
        if marked(self.cell, {}):
            config["cell"] = marked(self.cell, keras.saving.serialize_keras_object(self.cell))
        # A cell that is no part of it may be frozen by itself.
        return {**config, "trainable": self.trainable and self.cell.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> _Builtin:
        """The layer of a configuration."""
        cell = keras.saving.deserialize_keras_object(config.get("cell"), custom_objects)
        return cls(**{**config, "cell": cell})


@keras.saving.register_keras_serializable(package="kcells")
class LSTM(_Builtin, stock.LSTM):
    """`keras.layers.LSTM`, run by the best kernel that the machine has.

    `kcells.build("lstm", ...)` makes one.

    Args:
        *args, **kwargs: as for `keras.layers.LSTM`.
        dispatch: `"auto"` or `"require"`.
        cell: a `keras.layers.LSTMCell` to use in place of a new one.

    Call arguments, shapes: as for `kcells.RNN`, with inputs `(batch, time, features)`.

    Raises:
        DispatchError: for `dispatch="require"` with arguments that no kernel takes.

    Examples:

    >>> import keras, kcells
    >>> layer = kcells.build("lstm", 8)
    >>> isinstance(layer, keras.layers.LSTM), layer.units
    (True, 8)
    """

    _make_cell = stock.LSTMCell
    _cell_name = "lstm_cell"


@keras.saving.register_keras_serializable(package="kcells")
class GRU(_Builtin, stock.GRU):
    """`keras.layers.GRU`, run by the best kernel that the machine has.

    `kcells.build("gru", ...)` makes one.

    Args:
        *args, **kwargs: as for `keras.layers.GRU`.
        dispatch: `"auto"` or `"require"`.
        cell: a `keras.layers.GRUCell` to use in place of a new one.

    Call arguments, shapes: as for `kcells.RNN`, with inputs `(batch, time, features)`.

    Raises:
        DispatchError: for `dispatch="require"` with arguments that no kernel takes.

    Examples:

    >>> import keras, kcells
    >>> layer = kcells.build("gru", 8)
    >>> isinstance(layer, keras.layers.GRU), layer.reset_after
    (True, True)
    """

    _make_cell = stock.GRUCell
    _cell_name = "gru_cell"


_STAND_INS: dict[Any, type[RNN]] = {"lstm": LSTM, "gru": GRU}


def stand_in(cell: Any, is_new: bool, options: dict[str, Any]) -> RNN | None:
    """The built-in layer in the place of one around `cell`; None if none may stand there.

    Args:
        cell: the cell.
        is_new: whether nobody else has it, so that another of the same weights may do.
        options: arguments of the layer.
    """
    declared = equivalence_of(cell)
    if not (declared.holds and declared.is_identity and declared.builtin in _STAND_INS):
        return None
    # The built-in does its own dropout.
    facts = CellFacts(declared.builtin, tuple(declared.conditions), kernel_facts(cell, declared))
    known = {field.name for field in dataclasses.fields(Options)}
    asked = Options.given({k: value for k, value in options.items() if k in known})
    if not all_hold(substitution(facts, asked)):
        return None
    layer = _STAND_INS[declared.builtin]
    if is_keras_cell(cell):
        return layer(cell=cell, **options) if _shares_policy(cell, options) else None
    return layer(**declared.arguments, **options) if is_new else None


def _shares_policy(cell: Any, options: dict[str, Any]) -> bool:
    """Whether a layer with these options would have the dtype policy of the cell."""
    policy = keras.dtype_policies.get(options.get("dtype") or keras.config.dtype_policy())
    return bool(policy.name == cell.dtype_policy.name)
