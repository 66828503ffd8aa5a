"""The options of a layer that every path obeys."""

from __future__ import annotations

import dataclasses

__all__ = ["LoopOptions"]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """The options of the layer that the loop obeys.

    Attributes:
        return_sequences: whether the outputs of all steps are wanted, or the last.
        go_backwards: whether time runs from the end; outputs come in that order.
        zero_output_for_mask: whether a masked step gives zeros, or the last output.
        wants_states: whether anybody will look at the final states.
        tbptt: after how many steps that count the gradient is cut; None: never.
    """

    return_sequences: bool = False
    go_backwards: bool = False
    zero_output_for_mask: bool = False
    wants_states: bool = True
    tbptt: int | None = None
