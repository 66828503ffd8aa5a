"""The memories that a cell attends to, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops, tree

from kcells.cells import sizes_are_made_up
from kcells.errors import ConfigurationError, StructureError
from kcells.structure import known_shape, leaves_with_paths, outline, plain, same_shape
from kcells.types import Structure, Tensor

__all__ = [
    "check_memory",
    "flags",
    "memory_and_mask",
    "number_of_positions",
    "of_length",
]


def memory_and_mask(constants: Structure) -> tuple[Structure, list[Any]]:
    """The memories among the constants of a call, and a mask or None for each, in order.

    Raises:
        StructureError: if there is something else, or if the masks have another structure.
    """
    constants = plain(constants)
    if not isinstance(constants, dict) or "memory" not in constants:
        return constants, _masks(None, constants)
    if unknown := sorted(set(constants) - {"memory", "mask"}):
        raise StructureError(
            "AttentionCell: constants has a memory, and besides it there may be a mask."
            f"\n  received: {', '.join(map(repr, unknown))}"
        )
    memory = constants["memory"]
    return memory, _masks(constants.get("mask"), memory)


def check_memory(memory: Structure) -> None:
    """Raises `StructureError` for a memory that is none."""
    for path, leaf in leaves_with_paths(memory, "memory"):
        if len(leaf.shape) != 3 or leaf.shape[-1] is None:
            raise StructureError(
                f"AttentionCell: {path} must be (batch, positions, features); received"
                f" {tuple(leaf.shape)}."
            )


def _masks(mask: Structure, memory: Structure) -> list[Any]:
    """A mask, or None, for every memory, in order; some may be missing."""
    if isinstance(memory, dict) and (mask is None or _is_part_of(mask, memory)):
        return [m for key in memory for m in _masks(mask and mask.get(key), memory[key])]
    if isinstance(memory, (list, tuple)) and (mask is None or _is_as_long_as(mask, memory)):
        pairs = zip(mask or [None] * len(memory), memory, strict=True)
        return [m for pair in pairs for m in _masks(*pair)]
    if tree.is_nested(memory) or tree.is_nested(mask):
        raise StructureError(
            "AttentionCell: the masks of several memories come in their structure.\n"
            f"  memory: {outline(memory)}\n  mask:   {outline(mask)}"
        )
    return [mask]


def _is_part_of(mask: Structure, memory: dict[str, Any]) -> bool:
    return isinstance(mask, dict) and set(mask) <= set(memory)


def _is_as_long_as(mask: Structure, memory: Sequence[Any]) -> bool:
    return isinstance(mask, (list, tuple)) and len(mask) == len(memory)


def number_of_positions(given: int | None, memory: Any, of_state: str, returned: bool) -> Any:
    """How many positions a memory has to have; None for any number.

    Args:
        given: what the user says.
        memory: its spec.
        of_state: the name of the score whose shares are a state; empty if they are none.
        returned: whether they are returned.

    Raises:
        ConfigurationError: if the number has to be known and is not.
    """
    if given is not None:
        return given
    if memory.shape[1] is None and (of_state or returned):
        why = f"the shares of {of_state} are a state" if of_state else "return_alignment=True"
        raise ConfigurationError(
            f"AttentionCell: {why}, and the memory has no fixed number of positions:"
            f" {tuple(memory.shape)}.\n"
            "  Pass positions= to the cell, and pad every memory to that many, with a mask."
        )
    return memory.shape[1] if of_state else None


def of_length(memory: Tensor, positions: int | None) -> Tensor:
    """`memory` with as many positions as the cell was made for, if there is such a number.

    Raises:
        StructureError: if it has another number of them.
    """
    if positions is None:
        return memory
    shape = (ops.shape(memory)[0], positions, memory.shape[-1])
    if memory.shape[1] in (None, positions):
        return ops.reshape(memory, shape)
    if sizes_are_made_up():
        return ops.zeros(shape, memory.dtype)
    raise StructureError(
        "AttentionCell: a memory must have as many positions as the cell was made for.\n"
        f"  needed:   {positions}\n  received: {memory.shape[1]}\n"
        "  Pad it, with a mask; or pass another positions= to the cell."
    )


def flags(mask: Tensor | None, memory: Tensor) -> Tensor:
    """Which positions count, `(batch, positions)`: all, without a mask.

    Raises:
        StructureError: if the mask has another shape.
    """
    if mask is None:
        return ops.ones(ops.shape(memory)[:2], "bool")
    if sizes_are_made_up():
        return ops.ones(ops.shape(memory)[:2], "bool")
    if not same_shape(known_shape(memory)[:2], known_shape(mask)):
        raise StructureError(
            "AttentionCell: the mask of a memory must be (batch, positions).\n"
            f"  needed:   {known_shape(memory)[:2]}\n  received: {known_shape(mask)}"
        )
    return ops.reshape(ops.cast(mask, "bool"), ops.shape(memory)[:2])
