"""What a cell is made with and fed with, for those that need more than `units`.

A cell without an entry in `RECIPES` is made with one positional int and gets one tensor
`(batch, time, features)`. A cell that cannot live on that gets a recipe here; until it
has one, it is reported as skipped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from kcells.bench.sizes import Size
from kcells.build import cell

__all__ = ["RECIPES", "Recipe", "recipe_of"]

Shape = tuple[int, ...]


def _matrix(shape: Shape) -> tuple[int, int] | None:
    """A weight of two axes takes part in one product; any other in none."""
    return (shape[0], shape[1]) if len(shape) == 2 else None


def _halves(shape: Shape) -> tuple[int, int] | None:
    """A weight that maps the first half of its axes to the second."""
    middle = len(shape) // 2
    return None if len(shape) % 2 else (math.prod(shape[:middle]), math.prod(shape[middle:]))


def _one_tensor(size: Size) -> Any:
    return (size.batch, size.length, size.features)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make one cell and its inputs.

    Attributes:
        arguments: those of the cell's constructor, for a number of units.
        inputs: the shapes of the inputs, in the structure in which the cell takes them.
        product: rows and columns of the matrix by which a step multiplies, from the shape
            of a weight; None for a weight that is in no product.
        head: whether a Dense(1) follows the layer; otherwise its outputs meet targets.
        optimizer: what the model is trained with.
        sizes: sizes of its own, where the user names none.
        divisor: by what to divide the units of sizes that are meant for all cells, for a
            cell that multiplies them with each other.
    """

    arguments: Callable[[int], tuple[Any, ...]] = lambda units: (units,)
    inputs: Callable[[Size], Any] = _one_tensor
    product: Callable[[Shape], tuple[int, int] | None] = _matrix
    head: bool = True
    optimizer: str = "sgd"
    sizes: tuple[Size, ...] = ()
    divisor: int = 1

    def scaled(self, size: Size) -> Size:
        """The size of a sweep, or of the memory, for this cell."""
        return dataclasses.replace(size, units=max(1, size.units // self.divisor))


# The workload of the Keras guide "Working with RNNs", section on nested inputs: at its own
# size 64x50x32x10 a vector of 32 and a matrix of 64 by 32 a step, and units 10, 20, 30.
_GUIDE = Recipe(
    arguments=lambda units: (units, 2 * units, 3 * units),
    inputs=lambda size: (
        _one_tensor(size),
        (size.batch, size.length, 2 * size.features, size.features),
    ),
    product=_halves,
    head=False,
    optimizer="adam",
    sizes=(Size(64, 50, 32, 10),),
    divisor=8,
)

_SIDE_BY_SIDE = Recipe(
    arguments=lambda units: ({"left": cell("lstm", units), "right": cell("gru", units)},),
    inputs=lambda size: {"left": _one_tensor(size), "right": _one_tensor(size)},
)

# Cells that mix inputs and state entry by entry.
_AS_MANY = Recipe(inputs=lambda size: (size.batch, size.length, size.units))

_FRAMES = Recipe(
    arguments=lambda units: (units, 3),
    inputs=lambda size: (size.batch, size.length, 16, size.features),
    product=lambda shape: None,
    divisor=4,
)

_EVENTS = Recipe(
    inputs=lambda size: {"features": _one_tensor(size), "time": (size.batch, size.length, 1)}
)

RECIPES: Mapping[str, Recipe] = {
    **dict.fromkeys(("conv_gru", "conv_lstm"), _FRAMES),
    **dict.fromkeys(("intersection_rnn", "rg_lru", "s5"), _AS_MANY),
    "lmu": Recipe(arguments=lambda units: (units, units, 100.0)),
    "nested": _GUIDE,
    "parallel": _SIDE_BY_SIDE,
    "phased_lstm": _EVENTS,
}


def recipe_of(name: str) -> Recipe:
    """The recipe of a cell, by its id."""
    return RECIPES.get(name, Recipe())
