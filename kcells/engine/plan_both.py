"""Whether one call of a kernel may run both directions of a `Bidirectional`, and why."""

from __future__ import annotations

import dataclasses

from kcells.engine.facts import CellFacts
from kcells.engine.plan import Plan
from kcells.reasons import Reason

__all__ = ["DirectionFacts", "choose_both"]


@dataclasses.dataclass(frozen=True)
class DirectionFacts:
    """What the plan for both directions depends on in the call of one of them.

    Attributes:
        plan: its own plan.
        cell: the facts about its cell.
        units: the size of its state.
        options: the options that both have to share.
        goes_backwards: its direction.
        starts_from_zeros: whether nothing but the cell's own zeros starts it.
        drops: whether it drops inputs in this call.
        calls_aside: whether more hangs on a call of the layer than its result, such as a
            regularizer of its outputs or a dtype policy of its own.
    """

    plan: Plan
    cell: CellFacts
    units: int
    options: tuple[bool, ...]
    goes_backwards: bool
    starts_from_zeros: bool
    drops: bool
    calls_aside: bool


def choose_both(
    forward: DirectionFacts, backward: DirectionFacts, masked: bool
) -> tuple[Reason, ...]:
    """What has to hold so that one call of a kernel runs both directions."""
    both = (forward, backward)
    is_lstm = forward.cell.builtin == "lstm"
    zeros = all(one.starts_from_zeros for one in both)
    return (
        Reason(
            "the kernel runs both directions",
            all(one.plan.calls_kernel and one.plan.both_directions for one in both),
            f"{forward.plan.kernel}, {backward.plan.kernel}",
        ),
        Reason(
            "both cells are the same built-in of one size",
            (forward.cell.builtin, forward.units) == (backward.cell.builtin, backward.units),
            f"{forward.cell.builtin} {forward.units}, {backward.cell.builtin} {backward.units}",
        ),
        Reason(
            "the layers have the same options",
            forward.options == backward.options
            and (forward.goes_backwards, backward.goes_backwards) == (False, True),
            f"go_backwards={forward.goes_backwards}, {backward.goes_backwards}",
        ),
        Reason(
            "the inputs are the same for both",
            not any(one.drops for one in both),
            "dropout draws a mask for each" if any(one.drops for one in both) else "no dropout",
        ),
        Reason(
            "nothing else hangs on the call of a layer",
            not any(one.calls_aside for one in both),
            "activity_regularizer, dtype policy, a call of its own",
        ),
        Reason(
            "a masked LSTM starts from zeros",
            zeros or not masked or not is_lstm,
            f"masked: {masked}, zeros: {zeros}",
        ),
    )
