"""Programs of `torch.export`."""

from __future__ import annotations

from typing import Any

from keras import tree

from kcells.types import Structure

__all__ = ["run"]


def run(path: str, arrays: Structure) -> list[Any]:
    """What the file makes of arrays; see `kcells.files.run.run_file`."""
    import torch

    program = torch.export.load(path).module()
    found = program(tree.map_structure(torch.tensor, arrays))
    return [leaf.detach().cpu().numpy() for leaf in tree.flatten(found)]
