"""From a name to a cell, and from a cell to a layer."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import keras
from keras import tree

from kcells import registry, stock
from kcells.cells.checks import check_cell
from kcells.cells.numbers import plain_numbers
from kcells.engine.options import Dispatch, Options
from kcells.errors import ArgumentError, CellError, ConfigurationError, KCellsError
from kcells.layers.builtin import stand_in
from kcells.layers.options import EVERY_LAYER, RNN_OPTIONS, split_options
from kcells.layers.rnn import RNN
from kcells.layers.stacked import StackedCells
from kcells.registry.loading import check_cell_class

__all__ = ["Dispatch", "build", "cell", "make"]

_SHARED = frozenset({"dtype"})
"""Arguments that go to the layer and to the cell."""


def cell(name: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Makes a bare cell.

    Args:
        name: an id (`"mlstm"`), a qualified id (`"kcells-plugin-mlstm:mlstm"`), a cell
            class, a cell, or a list of these, which makes a stack.
        *args: for the cell's constructor; in a stack, for each that is not made yet.
        **kwargs: the same.

    Returns:
        The cell, a layer that takes `(batch, ...)` inputs and states.

    Raises:
        UnknownCellError, AmbiguousCellError: if the name does not lead to one cell.
        PluginLoadError: if the cell's plugin does not load.
        ArgumentError: for an argument that the cell does not take.
        CellError: if `name` is nothing that makes a cell.

    Examples:

    >>> import kcells
    >>> kcells.cell("gru", 8).state_size
    8
    >>> [c.units for c in kcells.cell(["gru", "lstm"], 8).cells]
    [8, 8]
    """
    return make(name, args, kwargs, {})


def build(name: Any, /, *args: Any, dispatch: Dispatch = "auto", **kwargs: Any) -> Any:
    """Makes a recurrent layer around a cell.

    Keyword arguments that the layer takes (`return_sequences`, `return_state`,
    `go_backwards`, `stateful`, `unroll`, `zero_output_for_mask`, `name`, ...) go to the
    layer, the others to the cell; `dtype` goes to both.

    Args:
        name: an id, a qualified id, a cell class, a cell, or a list of these.
        *args: for the cell's constructor.
        dispatch: whether a built-in layer may stand in where the cell declares one that
            computes the same. `"auto"`: yes. `"never"`: the cell runs in a loop.
            `"require"`: it has to.
        **kwargs: for the layer and the cell.

    Returns:
        Where a built-in may stand in and has the cell's very weights, an instance of
        `keras.layers.LSTM` or `keras.layers.GRU`, run by the kernels that the machine
        has. Otherwise a `kcells.RNN` around the cell; if the cell's weights can be
        turned into those of a built-in, it runs the same kernels.

    Raises:
        ArgumentError: for an argument that neither takes.
        DispatchError: for `dispatch="require"`, with every reason that stands in the way.
        UnknownCellError, AmbiguousCellError, PluginLoadError, CellError: see `cell`.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> layer = kcells.build("gru", 8, return_sequences=True)
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 5, 8)
    True
    >>> isinstance(layer, keras.layers.GRU)
    True
    >>> isinstance(kcells.build("gru", 8, reset_after=False), keras.layers.GRU)
    False
    """
    Options(dispatch=dispatch)  # raises
    if "use_cudnn" in kwargs and name in ("lstm", "gru", "kcells:lstm", "kcells:gru"):
        # The argument by which Keras' layers say the same.
        policies: dict[Any, Dispatch] = {True: "require", False: "never"}
        dispatch = policies.get(kwargs.pop("use_cudnn"), dispatch)
    for_layer, for_cell = split_options(kwargs)
    shared = {key: value for key, value in kwargs.items() if key in _SHARED}
    made = make(name, args, for_cell, shared)
    _check_input_shape(for_layer.get("input_shape"))
    for_layer["dispatch"] = dispatch
    instead = stand_in(made, is_new=made is not name, options=for_layer)
    return RNN(made, **for_layer) if instead is None else instead


def _check_input_shape(shape: Any) -> None:
    """Raises `ConfigurationError` for a structure, of which Keras makes no model."""
    is_shape = isinstance(shape, (list, tuple)) and not any(map(tree.is_nested, shape))
    if shape is not None and not is_shape:
        raise ConfigurationError(
            f"input_shape is the shape of one tensor, (time, features); received {shape!r}.\n"
            "  For nested inputs call the layer on a structure of keras.Input(shape)."
        )


def make(name: Any, args: tuple[Any, ...], kwargs: dict[str, Any], shared: dict[str, Any]) -> Any:
    """A cell; `shared` goes to each that is made here and takes it."""
    if isinstance(name, (list, tuple)):
        if name and _is_made(name) and (args or kwargs):
            raise _made_already("every cell of the stack", args, kwargs)
        cells = [
            make(member, (), {}, {}) if _is_made(member) else make(member, args, kwargs, shared)
            for member in name
        ]
        # The stack casts what it hands on, so it has the dtype of the cells.
        dtype = {key: value for key, value in {**kwargs, **shared}.items() if key in _SHARED}
        return StackedCells(cells, **dtype)
    if isinstance(name, (str, type)):
        cls = registry.load(name) if isinstance(name, str) else _checked_class(name)
        return _construct(cls, args, kwargs, shared)
    if args or kwargs:
        raise _made_already(type(name).__name__, args, kwargs)
    _check_no_layer(type(name))
    check_cell(name)
    return name


def _made_already(what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ArgumentError:
    shown = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
    near = [m for key in kwargs for m in difflib.get_close_matches(key, RNN_OPTIONS, n=1)]
    hint = f'  The layer takes "{near[0]}".\n' if near else ""
    return ArgumentError(
        f"{what} is made already; it cannot take {shown}.\n{hint}"
        "  Pass the class or the id instead of the object, or leave the arguments out."
    )


def _is_made(name: Any) -> bool:
    if isinstance(name, (list, tuple)):
        return all(_is_made(member) for member in name)
    return not isinstance(name, (str, type))


def _checked_class(cls: type[Any]) -> type[Any]:
    reason = check_cell_class(cls)
    if reason is not None:
        raise CellError(f"{cls.__name__} is no cell class: {reason}.")
    return cls


def _check_no_layer(cls: type[Any]) -> None:
    if issubclass(cls, stock.RNN):
        raise CellError(
            f"{cls.__name__} is a layer that runs over time, and a cell is needed.\n"
            "  Pass the cell, such as keras.layers.GRUCell for keras.layers.GRU."
        )


def _construct(
    cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any], shared: dict[str, Any]
) -> Any:
    _check_no_layer(cls)
    accepted = _accepted(cls)
    unknown = [key for key in kwargs if accepted is not None and key not in accepted]
    if unknown and not _is_open(cls):
        raise _unknown_argument(cls, unknown[0], accepted or frozenset())
    taken = {key: value for key, value in shared.items() if accepted is None or key in accepted}
    args = tuple(map(plain_numbers, args))
    kwargs = {key: plain_numbers(value) for key, value in kwargs.items()}
    try:
        made = cls(*args, **kwargs, **taken)
    except KCellsError:
        raise  # A wrapper hands on what it does not take to the cell inside, which knows.
    except (TypeError, ValueError) as error:
        # An open signature may take more than it shows; only the constructor knows.
        if unknown:
            raise _unknown_argument(cls, unknown[0], accepted or frozenset()) from error
        raise
    check_cell(made)
    return made


def _is_open(cls: type[Any]) -> bool:
    parameters = inspect.signature(cls).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _accepted(cls: type[Any]) -> frozenset[str] | None:
    """The keyword arguments that `cls` takes; None if it takes any.

    A constructor with `**kwargs` hands them on to the next one in line; what one that is
    no layer does with them, nobody knows.
    """
    if _is_open(cls) and not issubclass(cls, keras.layers.Layer):
        return None
    names: set[str] = set()
    for base in cls.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is None:
            continue
        parameters = inspect.signature(constructor).parameters
        names |= set(parameters) - {"self"}
        if base is keras.layers.Layer:
            return frozenset(names - {"kwargs"})
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return frozenset(names)
    return None


def _unknown_argument(cls: type[Any], key: str, accepted: frozenset[str]) -> ArgumentError:
    if key in RNN_OPTIONS:
        return ArgumentError(
            f'"{key}" is an argument of the layer; the bare cell {cls.__name__} does not take it.\n'
            f"  Use kcells.build(..., {key}=...), which makes the layer too."
        )
    near = difflib.get_close_matches(key, accepted | RNN_OPTIONS, n=1, cutoff=0.5)
    hint = f'  Nearest: "{near[0]}".\n' if near else ""
    own = sorted(accepted - EVERY_LAYER - {"args", "kwargs"})
    return ArgumentError(
        f'neither the layer nor the cell {cls.__name__} takes an argument "{key}".\n'
        f"{hint}"
        f"  The cell takes: {', '.join(own)}.\n"
        f"  The layer takes: {', '.join(sorted(RNN_OPTIONS))}."
    )
