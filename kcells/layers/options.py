"""Which keyword arguments are the layer's, and which the cell's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from kcells.layers.rnn import RNN

__all__ = ["EVERY_LAYER", "RNN_OPTIONS", "split_options"]

EVERY_LAYER = frozenset(
    name
    for name, parameter in inspect.signature(keras.layers.Layer.__init__).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name != "self"
)
"""What every Keras layer takes."""

_INPUT_SHAPE = "input_shape"
"""What every Keras layer takes too, though its signature does not say so."""

RNN_OPTIONS = (
    (frozenset(inspect.signature(RNN.__init__).parameters) - {"self", "cell", "kwargs"})
    | EVERY_LAYER
    | {_INPUT_SHAPE}
)
"""What `kcells.RNN` takes besides the cell."""


def split_options(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments for the layer, and those for the cell.

    Examples:

    >>> split_options({"return_sequences": True, "activation": "relu"})
    ({'return_sequences': True}, {'activation': 'relu'})
    """
    for_layer = {key: value for key, value in kwargs.items() if key in RNN_OPTIONS}
    for_cell = {key: value for key, value in kwargs.items() if key not in RNN_OPTIONS}
    return for_layer, for_cell
