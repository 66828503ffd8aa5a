"""Programs of `torch.export`."""

from __future__ import annotations

from typing import Any

from keras import tree

from kcells.files.inputs import inputs_of
from kcells.types import Structure

__all__ = ["any_size", "run"]


def any_size(model: Any) -> dict[str, Any]:
    """Arguments of `model.export` for a program that takes any number where a size is not known.

    Without them Keras writes a program for 1 in its place.
    """
    import torch

    def unknown(spec: Any) -> dict[int, Any]:
        return {
            axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(spec.shape) if size is None
        }

    return {"dynamic_shapes": [(tree.map_structure(unknown, inputs_of(model)),)]}


def run(path: str, arrays: Structure) -> list[Any]:
    """What the file makes of arrays; see `kcells.files.run.run_file`."""
    import torch

    program = torch.export.load(path).module()
    found = program(tree.map_structure(torch.tensor, arrays))
    return [leaf.detach().cpu().numpy() for leaf in tree.flatten(found)]
