"""The loop in PyTorch: Python, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from keras import tree

from kcells.types import Step, Structure

__all__ = ["scan"]


def scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    *,
    emits: Structure,
    variables: Sequence[Any],
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`."""
    columns = [torch.unbind(leaf) for leaf in tree.flatten(xs)]
    emitted = []
    for leaves in zip(*columns, strict=True):
        carry, y = step(carry, tree.pack_sequence_as(xs, list(leaves)))
        emitted.append(tree.flatten(y))
    stacked = [torch.stack(rows) for rows in zip(*emitted, strict=True)]
    return carry, tree.pack_sequence_as(emits, stacked)
