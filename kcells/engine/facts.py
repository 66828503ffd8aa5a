"""What a plan depends on: facts about a cell and about a call of its layer."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, TypeAlias

from keras import tree

from kcells.cells.equivalence import BuiltinName, KernelFacts, is_keras_cell, kernel_facts
from kcells.cells.protocol import BoundCell
from kcells.engine.products import InputProduct
from kcells.reasons import Reason
from kcells.types import Structure

__all__ = ["CallFacts", "CellFacts", "MaskKind", "facts_of", "sized"]

MaskKind: TypeAlias = Literal[
    "none", "right-padded", "left-padded", "with holes", "with a fully masked row", "not known yet"
]


@dataclasses.dataclass(frozen=True)
class CellFacts:
    """What the plan depends on in a cell.

    Attributes:
        builtin: the built-in layer that its author declares; None if there is none.
        conditions: the conditions that the declaration names, with their answers.
        kernel: the arguments that kernels ask about.
        is_keras: whether the cell is Keras' own, whose dropout is known.
        splits_step: whether the step has an input side that may be computed for the
            whole sequence at once.
        is_linear: whether all steps may be computed at once.
        members: the facts about the cells of a stack, the lowest first; of a wrapper about the
            one that it holds.
        wraps: whether the cell is a wrapper.
        device: `"gpu"` or `"cpu"` for what a wrapper puts elsewhere; empty for all else.
    """

    builtin: BuiltinName | None = None
    conditions: tuple[Reason, ...] = ()
    kernel: KernelFacts = dataclasses.field(default_factory=KernelFacts)
    is_keras: bool = True
    splits_step: bool = False
    is_linear: bool = False
    members: tuple[CellFacts, ...] = ()
    wraps: bool = False
    device: str = ""


def facts_of(cell: BoundCell) -> CellFacts:
    """What the plan depends on in a cell."""
    declared, wrapped = cell.equivalence, cell.wrapped
    return CellFacts(
        declared.builtin,
        tuple(declared.conditions),
        kernel_facts(cell.cell, declared),
        is_keras_cell(cell.cell),
        cell.hoists,
        cell.is_linear,
        tuple(map(facts_of, cell.members if wrapped is None else (wrapped,))),
        wrapped is not None,
        "" if wrapped is None else _kind_of_device(cell.cell.device),
    )


def _kind_of_device(name: str | None) -> str:
    if name is None:
        return ""
    return "cpu" if name.lower().startswith("cpu") else "gpu"


@dataclasses.dataclass(frozen=True)
class CallFacts:
    """What the plan depends on in a call.

    Attributes:
        mask: what mask it has.
        takes_constants: whether constants are passed to the cell.
        obstacle: what is known to keep the loop from being compiled. A new call has to find
            out for itself: another trace may have no such thing in its way.
        resets: whether some steps start anew.
        products: those of the inputs that were computed before the loop when it was last traced;
            None before that.
        features: how many numbers a row of the inputs has at a step; 0 where it is not known.
        batch: how many rows; 0 where it is not known.
    """

    mask: MaskKind = "not known yet"
    takes_constants: bool = False
    obstacle: str = ""
    resets: bool = False
    products: tuple[InputProduct, ...] | None = None
    features: int = 0
    batch: int = 0


def sized(facts: CallFacts, sequences: Structure) -> CallFacts:
    """Facts about a call with the sizes of its inputs, `(batch, time, ...)`, if they are known."""
    shapes = [tuple(leaf.shape) for leaf in tree.flatten(sequences)]
    if not all(isinstance(size, int) for shape in shapes for size in (shape[0], *shape[2:])):
        return facts
    features = sum(math.prod(shape[2:]) for shape in shapes)
    return dataclasses.replace(facts, features=features, batch=shapes[0][0])
