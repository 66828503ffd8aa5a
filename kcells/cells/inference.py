"""What a cell gives back, found out by tracing one step on symbolic tensors."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import keras
from keras import tree

from kcells.cells.dropout import forget_masks
from kcells.cells.losses import losses_noted
from kcells.cells.protocol import BoundCell
from kcells.cells.variables import current_value
from kcells.errors import StructureError
from kcells.structure import Size, map_leaves, outline, plain, shape_leaves, size_structure
from kcells.types import Structure

__all__ = [
    "build_for",
    "built_outputs",
    "declared_outputs",
    "infer_before",
    "infer_step",
    "sizes_are_made_up",
    "state_specs",
    "trace",
]

_traces: ContextVar[bool] = ContextVar("traces", default=False)


def sizes_are_made_up() -> bool:
    """Whether a step is traced for its shapes alone.

    On JAX and PyTorch Keras takes numbers of its own there for sizes that are not known, so that
    two of them may differ that are one size in every real call.
    """
    return _traces.get()


class _Trace(keras.Operation):
    """Runs a function on symbolic tensors, through the public door of an operation."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function
        self.error: Exception | None = None

    def call(self, *args: Any) -> Any:
        try:
            return self._function(*args)
        except Exception as error:
            self.error = error
            raise


def trace(function: Callable[..., Any], *args: Any) -> Any:
    """The specs of `function(*args)`, for structures of `keras.KerasTensor`."""
    operation = _Trace(function)
    token = _traces.set(True)
    try:
        return operation.compute_output_spec(*args)
    except Exception:
        # Keras wraps the message in advice on how to write an operation.
        if operation.error is not None:
            raise operation.error from None
        raise
    finally:
        _traces.reset(token)


def state_specs(cell: BoundCell, batch: int | None = None) -> Structure:
    """Symbolic states: shapes from `state_size`, dtypes from the cell's initial state."""
    initial = cell.initial_state(batch_size=1)

    def spec(leaf: Any, size: Size) -> keras.KerasTensor:
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        return keras.KerasTensor(size.batched(batch), dtype=dtype)

    for leaf, size in zip(tree.flatten(initial), tree.flatten(cell.sizes), strict=True):
        if tuple(leaf.shape[1:]) != size.dims:
            raise StructureError(
                f"{cell.name}.get_initial_state() and state_size do not agree.\n"
                f"  state_size: {outline(cell.sizes)}\n"
                f"  get_initial_state(1): {outline(initial)}"
            )
    return tree.map_structure(spec, initial, cell.sizes)


def infer_step(
    cell: BoundCell, inputs: Structure, constants: Structure = None
) -> tuple[Structure, Structure]:
    """The specs of outputs and states of one step; builds what is built by calling.

    Args:
        cell: the cell.
        inputs: a structure of `keras.KerasTensor`, `(batch, ...)`.
        constants: the same, or None.

    Returns:
        Two structures of `keras.KerasTensor`, `(batch, ...)`.

    Raises:
        StructureError: if the new states do not have the shapes of `state_size`.
    """
    states = state_specs(cell, tree.flatten(inputs)[0].shape[0])
    arguments = (inputs, states) if constants is None else (inputs, states, constants)

    values = _current_values(cell.cell)

    def one_step(inputs: Structure, states: Structure, constants: Structure = None) -> Any:
        # Keras' trace hides the values that an outer scope holds for the variables, as
        # inside of a compiled step of JAX, where they have no others.
        with keras.StatelessScope(values), losses_noted(cell.cell) as losses:
            results = cell(inputs, states, training=None, constants=constants)
            cell.adds_losses |= bool(losses)
            return results

    try:
        outputs, new_states = trace(one_step, *arguments)
    finally:
        forget_masks(cell.cell)
    for new, old in zip(tree.flatten(new_states), tree.flatten(states), strict=True):
        if tuple(new.shape[1:]) != tuple(old.shape[1:]):
            raise StructureError(
                f"{cell.name}.call() returns states that do not have the shapes of state_size.\n"
                f"  state_size: {outline(cell.sizes)}\n"
                f"  new states: {outline(new_states)}"
            )
    return plain(outputs), states


def infer_before(wrapper: Any, inputs: Structure) -> Structure:
    """The specs of what a wrapper makes of one step of inputs.

    Args:
        wrapper: the wrapper, built as far as its `before` needs it.
        inputs: a structure of `keras.KerasTensor`, `(batch, ...)`.
    """
    values = _current_values(wrapper)

    def before(inputs: Structure) -> Structure:
        with keras.StatelessScope(values):
            return plain(wrapper.before(inputs))

    try:
        return trace(before, inputs)
    finally:
        forget_masks(wrapper)


def build_for(cell: BoundCell, step: Structure, constants_shape: Structure, dtype: str) -> None:
    """Builds a cell, by a trace if it has no build method.

    Args:
        cell: the cell.
        step: a structure of `keras.KerasTensor`, the inputs of one step.
        constants_shape: the shapes of the constants, or None.
        dtype: the dtype to trace with.
    """
    cell.build(map_leaves(lambda leaf, _: tuple(leaf.shape), step), constants_shape)
    if isinstance(cell.cell, keras.layers.Layer) and not cell.cell.built:
        # Its weights come with its first call.
        step = map_leaves(lambda spec, _: keras.KerasTensor(spec.shape, dtype), step)
        infer_step(cell, step, None if constants_shape is None else shape_leaves(constants_shape))
        cell.cell.built = True


def built_outputs(cell: BoundCell, inputs: Structure, constants_shape: Structure) -> Structure:
    """Builds a cell that is part of another; the specs of what it gives at a step.

    Args:
        cell: the cell.
        inputs: a structure of `keras.KerasTensor`, `(batch, ...)`, in the dtype to trace with.
        constants_shape: the shapes of the constants, or None.

    Raises:
        StructureError: as `infer_step`.
    """
    cell.build(map_leaves(lambda spec, _: tuple(spec.shape), inputs), constants_shape)
    constants = None if constants_shape is None else shape_leaves(constants_shape)
    outputs, _ = infer_step(cell, inputs, constants)
    if isinstance(cell.cell, keras.layers.Layer):
        cell.cell.built = True  # also where its weights came with the trace
    return outputs


def _current_values(cell: Any) -> list[tuple[Any, Any]]:
    if not isinstance(cell, keras.layers.Layer):
        return []
    return [(v, current_value(v)) for v in cell.variables]


def declared_outputs(cell: BoundCell, dtype: str) -> Structure:
    """The specs that `output_size` declares; None if the cell declares none."""
    declared = getattr(cell.cell, "output_size", None)
    if declared is None:
        return None
    sizes = size_structure(declared, "output_size", cell.name)
    return map_leaves(lambda size, _: keras.KerasTensor(size.batched(None), dtype=dtype), sizes)
