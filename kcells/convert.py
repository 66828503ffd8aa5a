"""`to_builtin`: the same function in plain Keras layers, for a world without kcells."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from kcells import stock
from kcells._keras_private import get_mask, sublayers
from kcells.cells.equivalence import builtin_arguments
from kcells.errors import ArgumentError, DispatchError, table
from kcells.layers.bidirectional import Bidirectional
from kcells.layers.rnn import RNN
from kcells.reasons import Reason

__all__ = ["to_builtin"]

_BUILTINS = {
    "lstm": stock.LSTM,
    "gru": stock.GRU,
    "simple_rnn": stock.SimpleRNN,
}


def to_builtin(layer_or_model: Any) -> Any:
    """Plain Keras layers with the same weights, whose file loads without kcells.

    Args:
        layer_or_model: a `kcells.RNN`, a `kcells.Bidirectional`, or a functional or
            sequential model with such layers. It stays as it is.

    Returns:
        A `keras.layers.LSTM`, `GRU`, `SimpleRNN` or `Bidirectional` of the same name, with
        copies of the weights if there are any yet, and of what a stateful layer
        remembers; or a model of such layers, which is not compiled. A layer on its own
        has its states in the order of the built-in; in a model they go where they went.

    Raises:
        DispatchError: if there is no built-in for a layer, with the conditions that fail.
        ArgumentError: for anything else than a layer or model of these kinds.

    Examples:

    >>> import keras, kcells
    >>> model = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 8)])
    >>> plain = kcells.to_builtin(model)
    >>> type(plain.layers[0]) is keras.layers.GRU
    True
    """
    if isinstance(layer_or_model, keras.Model):
        return _convert_model(layer_or_model)
    if isinstance(layer_or_model, (RNN, stock.Bidirectional)):
        _check([layer_or_model])
        return _convert(layer_or_model)
    raise ArgumentError(
        "to_builtin takes a kcells.RNN, a kcells.Bidirectional or a model;"
        f" received {type(layer_or_model).__name__}."
    )


def _convert_model(model: keras.Model) -> keras.Model:
    if not (isinstance(model, keras.Sequential) or hasattr(model, "operations")):
        raise ArgumentError(
            f"to_builtin takes functional and sequential models; {type(model).__name__} is a"
            " subclass with a call of its own.\n"
            "  Convert its layers one by one, and put them in place of the old ones."
        )
    layers = [layer for layer in sublayers(model) if not isinstance(layer, keras.Model)]
    _check(layers)
    copied: list[tuple[Any, Any]] = []
    converted: dict[int, Any] = {}

    def convert(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return _convert_model(layer)
        if _is_ours(layer):
            new = _convert(layer)
            converted[id(new)] = layer
            return new
        copy = type(layer).from_config(layer.get_config())
        _copy_assets(layer, copy)
        copied.append((layer, copy))
        return copy

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        old = converted.get(id(layer))
        return layer(*args, **kwargs) if old is None else _call(old, layer, args, kwargs)

    # A sequential model has no calls with states, and Keras takes no function for them.
    calls = {} if isinstance(model, keras.Sequential) else {"call_function": call}
    clone = keras.models.clone_model(model, clone_function=convert, **calls)
    for layer, copy in copied:
        if isinstance(layer, keras.layers.Layer):
            copy.set_weights(layer.get_weights())
            for part in sublayers(copy):
                if hasattr(part, "finalize_state"):
                    part.finalize_state()  # as a layer that was adapted needs it
    return clone


def _copy_assets(layer: Any, copy: Any) -> None:
    """Vocabularies and the like, which are neither configuration nor weights."""
    for old, new in zip(sublayers(layer), sublayers(copy), strict=True):
        if hasattr(old, "save_assets") and hasattr(new, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                old.save_assets(folder)
                new.load_assets(folder)


def _call(old: Any, new: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls `new` as `old` was called."""
    given = dict(zip(("sequences", "initial_state"), args, strict=False)) | kwargs
    sequences = given.pop("sequences")
    if given.get("initial_state") is not None and given.get("mask") is None:
        # Keras would drop the mask that comes with the sequences.
        given["mask"] = get_mask(sequences)
    if not isinstance(old, RNN) or old._bound.equivalence.states is None:
        return new(sequences, **given)
    if given.get("initial_state") is not None:
        given["initial_state"] = old._bound.in_builtin_order(given["initial_state"])
    result = new(sequences, **given)
    if not new.return_state:
        return result
    outputs, *states = result
    return (outputs, *tree.flatten(old._bound.in_cell_order(states)))


def _is_ours(layer: Any) -> bool:
    if isinstance(layer, stock.Bidirectional):
        return isinstance(layer, Bidirectional) or isinstance(layer.forward_layer, RNN)
    return isinstance(layer, RNN)


def _check(layers: list[Any]) -> None:
    """Raises `DispatchError` with everything that stands in the way, in any layer."""
    rows = []
    reasons: list[Reason] = []
    inner = {id(part) for layer in layers if _is_ours(layer) for part in _inside(layer)}
    for layer in layers:
        if isinstance(layer, RNN):
            against = _against(layer)
        elif isinstance(layer, Bidirectional) and tree.is_nested(layer.merge_mode):
            against = [Reason("merge_mode is one mode", False, f"{layer.merge_mode!r}")]
        elif not _is_ours(layer) and id(layer) not in inner and any(map(_is_ours, _inside(layer))):
            against = [Reason("the layer is no wrapper", False, type(layer).__name__)]
        else:
            continue
        reasons += against
        rows += [(f'"{layer.name}"', reason.condition, reason.detail) for reason in against]
    if not rows:
        return
    error = DispatchError(
        "to_builtin: no plain Keras layer computes the same. It would take:\n"
        f"{table(rows)}\n"
        "  Keep these layers as they are: a model may mix layers of kcells with others."
    )
    error.reasons = tuple(reasons)
    raise error


def _inside(layer: Any) -> list[Any]:
    return [part for part in sublayers(layer) if part is not layer]


def _against(layer: RNN) -> list[Reason]:
    declared = layer._bound.equivalence
    if type(layer).call is not RNN.call:
        return [Reason("the layer has no call of its own", False, type(layer).__name__)]
    if layer.return_all_states or layer.train_initial_state:
        asked = "return_all_states" if layer.return_all_states else "train_initial_state"
        return [Reason("Keras' layer has the options that are set", False, f"{asked}=True")]
    if layer.tbptt is not None:
        return [Reason("the gradient goes back through all steps", False, f"tbptt={layer.tbptt}")]
    if declared.builtin is None:
        name = type(layer.cell).__name__
        return [
            *(reason for reason in declared.conditions if not reason.holds),
            Reason("the cell declares a built-in that computes the same", False, name),
        ]
    return [reason for reason in declared.conditions if not reason.holds]


def _convert(layer: Any) -> Any:
    new = _convert_rnn(layer) if isinstance(layer, RNN) else _convert_both(layer)
    # Ours hands its mask on. Keras 3.16 is about to have theirs do so only if told.
    new.supports_masking = True
    return new


def _convert_both(layer: Any) -> Any:
    forward = _convert(layer.forward_layer)
    new = stock.Bidirectional(
        forward,
        merge_mode=layer.merge_mode,
        backward_layer=_convert(layer.backward_layer),
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )
    # It has made a forward layer of its own from the configuration.
    new.forward_layer.name = layer.forward_layer.name
    if layer.built:
        _take_over(new.forward_layer, forward)
        new.built = True
    return new


def _convert_rnn(layer: RNN) -> Any:
    declared = layer._bound.equivalence
    new = _BUILTINS[layer._bound.builtin](
        **builtin_arguments(layer.cell, declared),
        return_sequences=layer.return_sequences,
        return_state=layer.return_state,
        go_backwards=layer.go_backwards,
        stateful=layer.stateful,
        unroll=layer.unroll,
        zero_output_for_mask=layer.zero_output_for_mask,
        activity_regularizer=layer.activity_regularizer,
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable and layer.cell.trainable,
    )
    if not layer.built:
        return new
    weights = layer.weights if declared.weights is None else declared.weights()
    states = [] if layer.states is None else layer._bound.in_builtin_order(layer.states)
    _fill(new, weights, states)
    return new


def _take_over(new: Any, old: Any) -> None:
    _fill(new, old.weights, tree.flatten(old.states or []))


def _fill(new: Any, weights: Sequence[Any], states: Sequence[Any]) -> None:
    """Builds `new`, with these values for its weights and for what it remembers."""
    values = [ops.convert_to_numpy(weight) for weight in weights]
    batch = states[0].shape[0] if states else None
    new.build((batch, None, values[0].shape[0]))
    new.built = True
    new.set_weights(values)
    for variable, value in zip(tree.flatten(new.states or []), states, strict=True):
        variable.assign(value)
