"""The loop written out in Python: the path `unrolled`, and every loop of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops, tree

from kcells.engine.backends.base import DEFAULTS, Settings
from kcells.types import Step, Structure

__all__ = ["scan"]


def scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    *,
    emits: Structure,
    variables: Sequence[Any],
    settings: Settings = DEFAULTS,
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`."""
    if settings.project is not None:
        xs = settings.project(xs)
    columns = [ops.unstack(leaf, axis=0) for leaf in tree.flatten(xs)]
    emitted = []
    for leaves in zip(*columns, strict=True):
        carry, y = step(carry, tree.pack_sequence_as(xs, list(leaves)))
        emitted.append(tree.flatten(y))
    stacked = [ops.stack(rows, axis=0) for rows in zip(*emitted, strict=True)]
    return carry, tree.pack_sequence_as(emits, stacked)
