"""Structures, leaf by leaf: what is the same in several wrappers."""

from __future__ import annotations

from typing import Any

from keras import ops, tree

import kcells
from kcells.errors import StructureError
from kcells.structure import conform, leaves_with_paths, plain
from kcells.types import Structure, Tensor

__all__ = ["Skip", "each", "numbered", "pairs", "the_vector", "vectors"]


def numbered(name: str, position: int, count: int) -> str:
    """The name of a weight for one of several leaves; for a single one without a number."""
    return name if count == 1 else f"{name}_{position}"


def each(value: Any, like: Structure, name: str, who: str) -> list[Any]:
    """`value` for every leaf of `like`: one that stands for all, or a structure of them.

    Raises:
        StructureError: if it is a structure, and another one.
    """
    if not isinstance(value, (dict, list, tuple)):
        return [value for _ in tree.flatten(like)]
    return list(tree.flatten(conform(plain(value), like, name, who)))


def vectors(specs: Structure, root: str, who: str) -> list[Any]:
    """The leaves of `specs`, each of which has an axis of features that is known.

    Raises:
        StructureError: for one that has none.
    """
    for path, leaf in leaves_with_paths(specs, root):
        if len(leaf.shape) < 2 or not isinstance(leaf.shape[-1], int):
            raise StructureError(
                f"{who}: {path} must have features, as the last axis of a step (batch, ...,"
                f" features); its shape is {tuple(leaf.shape)}."
            )
    return list(tree.flatten(specs))


def the_vector(structure: Structure, what: str, who: str) -> Any:
    """The one leaf of a step, which is a vector.

    Raises:
        StructureError: if there are several, or if it is none.
    """
    leaves = tree.flatten(structure)
    if len(leaves) != 1 or len(leaves[0].shape) != 2 or leaves[0].shape[-1] is None:
        shapes = ", ".join(str(tuple(leaf.shape[1:])) for leaf in leaves)
        raise StructureError(
            f"{who}: {what} must be one vector a step, (batch, features); the shapes of a"
            f" step are {shapes}.\n  Put a cell around it, or inside, that makes it one."
        )
    return leaves[0]


def pairs(inputs: Structure, outputs: Structure, who: str) -> list[tuple[str, Any, Any]]:
    """The leaves of inputs and outputs that stand in the same place, with their path.

    Raises:
        StructureError: if the structures differ.
    """
    inputs = conform(plain(inputs), plain(outputs), "inputs", f"{who}, which adds both up")
    named = leaves_with_paths(plain(outputs), "outputs")
    return [(path, x, y) for (path, y), x in zip(named, tree.flatten(inputs), strict=True)]


class Skip(kcells.Wrapper):
    """A wrapper that leads its inputs past the cell, projected where the sizes differ."""

    def __init__(
        self,
        cell: Any,
        *args: Any,
        project: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.project = project
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build_after(self, inputs: Structure, outputs: Structure) -> None:
        found = pairs(inputs, outputs, type(self).__name__)
        self.kernels: list[Any] = []
        for position, (path, x, y) in enumerate(found):
            shape = self._of_projection(path, tuple(x.shape), tuple(y.shape))
            name = numbered("projection_kernel", position, len(found))
            self.kernels.append(None if shape is None else self.add(name, shape, part="kernel"))

    def _of_projection(
        self, path: str, x: tuple[Any, ...], y: tuple[Any, ...]
    ) -> tuple[int, int] | None:
        if x[1:] == y[1:]:
            return None
        can = len(x) == len(y) > 1 and x[1:-1] == y[1:-1]
        if can and self.project:
            return x[-1], y[-1]
        remedy = (
            "Leave out project=False, and the inputs are projected"
            if can
            else "Put another cell inside, or a projection around it that makes the shapes alike"
        )
        raise StructureError(
            f"{type(self).__name__}: {path} and the inputs at the same place differ in shape.\n"
            f"  inputs of a step:  {x}\n"
            f"  {path} of the cell: {y}\n"
            f"  {remedy}."
        )

    def past_the_cell(self, inputs: Structure, outputs: Structure) -> list[Tensor]:
        """The inputs, in the shapes of the outputs, for every leaf of these."""
        found = []
        known = zip(pairs(inputs, outputs, type(self).__name__), self.kernels, strict=True)
        for (_, x, y), kernel in known:
            x = ops.cast(x, y.dtype)
            found.append(x if kernel is None else ops.matmul(x, kernel))
        return found
