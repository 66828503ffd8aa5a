"""Which path a layer takes, and why: decided from data, before anything runs."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["LayerFacts", "Path", "Plan", "Reason", "choose"]

Path = Literal["fused", "parallel", "loop", "unrolled"]
"""How the time loop is run: by a built-in layer and its kernels, by an associative
scan, by a loop of the backend, or step after step in the graph."""


@dataclasses.dataclass(frozen=True)
class Reason:
    """One condition that was looked at.

    Attributes:
        condition: what was asked, in a few words.
        holds: the answer.
        detail: the value that decided it.
    """

    condition: str
    holds: bool
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """What the plan depends on.

    Attributes:
        unroll: the layer's option of that name.
        splits_step: whether the cell has `project_inputs` and `step` that may be used.
        takes_constants: whether constants are passed to the cell.
        backend: the Keras backend.
    """

    unroll: bool
    splits_step: bool
    takes_constants: bool
    backend: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A path and the reasons for it.

    Attributes:
        path: the path.
        hoists: whether the input side of all steps is computed before the loop.
        reasons: every condition that was looked at.
    """

    path: Path
    hoists: bool
    reasons: tuple[Reason, ...]


def choose(facts: LayerFacts) -> Plan:
    """Chooses the path for a layer.

    Examples:

    >>> choose(LayerFacts(unroll=True, splits_step=True, takes_constants=False, backend="jax")).path
    'unrolled'
    """
    hoists = facts.splits_step and not facts.takes_constants
    reasons = (
        Reason("unroll is asked for", facts.unroll, f"unroll={facts.unroll}"),
        Reason(
            "the input side is computed once for the whole sequence",
            hoists,
            "the cell splits call into project_inputs and step"
            if facts.splits_step
            else "the cell has no project_inputs and step, or another dtype policy",
        ),
        Reason("a built-in kernel is used", False, "this release has no dispatcher yet"),
        Reason("an associative scan is used", False, "this release has no parallel path yet"),
    )
    return Plan("unrolled" if facts.unroll else "loop", hoists, reasons)
