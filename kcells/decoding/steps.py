"""Anything that can be stepped, as a function of what is fed back and of states."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from kcells import stock
from kcells.cells.inference import build_for
from kcells.cells.protocol import BoundCell
from kcells.errors import ArgumentError, CellError, ConfigurationError, StructureError, table
from kcells.layers.checks import check_states
from kcells.layers.memory import first_states
from kcells.streaming import StreamingModel
from kcells.structure import (
    conform,
    known_shape,
    leaves_with_paths,
    map_leaves,
    plain,
    same_shape,
)
from kcells.types import Structure, Tensor

__all__ = ["Stepper", "as_tensor", "check_shapes", "stepper_of"]


class Stepper(NamedTuple):
    """What can be stepped.

    Attributes:
        name: for messages.
        call: `(inputs, states, constants) -> (outputs, new states)`.
        first: `(states or None, batch) -> states`, those to start from.
        takes_constants: whether it does.
        build: for a cell, what is given the specs of the inputs and constants of a step before the
            first one.
        prepare: what a step needs of the constants, made once before the loop.
    """

    name: str
    call: Callable[[Structure, Structure, Structure], tuple[Structure, Structure]]
    first: Callable[[Structure, int], Structure]
    takes_constants: bool
    build: Callable[[Structure, Structure], None] | None = None
    prepare: Callable[[Structure], Structure] = lambda constants: constants


def stepper_of(step: Any) -> Stepper:
    """What `step` is, as one.

    Raises:
        ArgumentError, ConfigurationError: if it cannot be stepped.
    """
    if isinstance(step, StreamingModel):
        return _of_stream(step)
    if isinstance(step, stock.RNN):
        if step.go_backwards:
            raise ConfigurationError(
                f'generate: the layer "{step.name}" has go_backwards=True, which begins at the end.'
            )
        return _of_cell(getattr(step, "_bound", None) or BoundCell(step.cell, step))
    if hasattr(step, "state_size") and callable(getattr(step, "call", None)):
        is_layer = isinstance(step, keras.layers.Layer)
        return _of_cell(BoundCell(step, step if is_layer else keras.layers.Layer()))
    if isinstance(step, (list, tuple)):
        raise ArgumentError(
            f"generate: step is a {type(step).__name__}.\n"
            "  For a stack of cells, pass kcells.StackedCells(cells)."
        )
    if isinstance(step, keras.layers.Layer) and not _takes_states(step):
        raise ArgumentError(
            f'generate: step is {type(step).__name__} "{step.name}", which takes no states.\n'
            "  Of a model that was trained on sequences, pass kcells.to_streaming(model)."
        )
    if not callable(step):
        raise ArgumentError(
            "generate: step has to be a cell, an RNN layer, kcells.to_streaming(model), or a"
            " function (inputs, states) -> (outputs, states); received"
            f" {type(step).__name__}."
        )
    return _of_function(step)


def _takes_states(layer: Any) -> bool:
    return "states" in inspect.signature(layer.call).parameters


def _of_function(function: Any) -> Stepper:
    name = str(getattr(function, "__name__", None) or getattr(function, "name", "step"))

    def call(inputs: Structure, states: Structure, constants: Structure) -> Any:
        given = {} if constants is None else {"constants": constants}
        result = function(inputs, states, **given)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise CellError(
                f"generate: {name} must return (outputs, states); it returned"
                f" {type(result).__name__}."
            )
        return result[0], conform(result[1], states, "states", f"generate: {name}")

    def first(states: Structure, batch: int) -> Structure:
        if states is None:
            raise ConfigurationError(
                f"generate: {name} is a function, and nobody knows what its states start from.\n"
                "  Pass initial_state; [] for a function without states."
            )
        return plain(states)

    parameters = inspect.signature(function).parameters
    kinds = [parameter.kind for parameter in parameters.values()]
    takes = "constants" in parameters or inspect.Parameter.VAR_KEYWORD in kinds
    return Stepper(name, call, first, takes)


def _of_cell(cell: BoundCell) -> Stepper:
    def call(inputs: Structure, states: Structure, constants: Structure) -> Any:
        return cell(inputs, states, False, constants)

    def first(states: Structure, batch: int) -> Structure:
        if states is not None:
            states = check_states(cell, states, batch, "initial_state", "generate")
        return first_states(cell, states, None, batch, False)

    def build(inputs: Structure, constants: Structure) -> None:
        shapes = None if constants is None else map_leaves(lambda x, _: tuple(x.shape), constants)
        build_for(cell, inputs, shapes, cell.compute_dtype)

    def prepare(constants: Structure) -> Structure:
        # Outside of the layer nothing is cast: weights that are wider than the rest would widen it.
        is_cast = getattr(cell.cell, "variable_dtype", cell.compute_dtype) != cell.compute_dtype
        return constants if is_cast else cell.prepare_constants(constants)

    return Stepper(cell.name, call, first, cell.takes("constants"), build, prepare)


def _of_stream(stream: StreamingModel) -> Stepper:
    wanted = plain(stream.input["states"])

    def call(inputs: Structure, states: Structure, constants: Structure) -> Any:
        result = stream({"inputs": inputs, "states": states}, training=False)
        return result["outputs"], conform(result["states"], states, "states", stream.name)

    def first(states: Structure, batch: int) -> Structure:
        if states is None:
            return plain(stream.initial_states(batch))
        states = conform(states, wanted, "initial_state", f"generate: {stream.name}")
        check_shapes(states, wanted, f"generate: {stream.name}", "initial_state")
        return states

    return Stepper(stream.name, call, first, False)


def check_shapes(given: Structure, wanted: Structure, who: str, root: str) -> None:
    """Compares leaf by leaf what has one structure, without the batch axis.

    Raises:
        StructureError: with all leaves of another shape.
    """
    rows = [
        (path, f"needed {known_shape(spec)}", f"received {known_shape(leaf)}")
        for (path, leaf), spec in zip(
            leaves_with_paths(given, root), tree.flatten(wanted), strict=True
        )
        if len(leaf.shape) == 0 or not same_shape(known_shape(leaf)[1:], known_shape(spec)[1:])
    ]
    if rows:
        raise StructureError(f"{who}: {root} has leaves of the wrong shape.\n{table(rows)}")


def as_tensor(leaf: Any) -> Tensor:
    """A tensor; what comes from Python or NumPy gets Keras' usual dtypes."""
    if ops.is_tensor(leaf):
        return leaf
    array = ops.convert_to_numpy(leaf)
    kinds = {"f": keras.config.floatx(), "i": "int32", "u": "int32"}
    return ops.convert_to_tensor(array, dtype=kinds.get(array.dtype.kind))
