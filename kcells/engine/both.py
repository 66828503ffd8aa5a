"""Both directions of a `Bidirectional` in one call of a kernel, where there is one."""

from __future__ import annotations

import dataclasses

from keras import tree

from kcells.cells.equivalence import is_keras_cell
from kcells.engine import fused
from kcells.engine.call import Call, swap_batch_and_time
from kcells.engine.run import Ran
from kcells.reasons import Reason

__all__ = ["conditions", "execute_both"]


def conditions(forward: Call, backward: Call) -> tuple[Reason, ...]:
    """What has to hold so that one call of a kernel runs both directions."""
    calls = (forward, backward)
    names = [call.cell.equivalence.builtin for call in calls]
    units = [tree.flatten(call.cell.sizes)[0].dims[0] for call in calls]
    drops = any(
        call.training and is_keras_cell(call.cell.cell) and call.cell.cell.dropout for call in calls
    )
    masked, zeros = forward.mask is not None, all(call.from_zeros for call in calls)
    turned = dataclasses.replace(backward.options, go_backwards=False)
    return (
        Reason(
            "the kernel runs both directions",
            all(call.plan.both_directions for call in calls),
            ", ".join(call.plan.kernel for call in calls),
        ),
        Reason(
            "both cells are the same built-in of one size",
            (names[0], units[0]) == (names[1], units[1]),
            f"{names[0]} {units[0]}, {names[1]} {units[1]}",
        ),
        Reason(
            "the layers have the same options, and the second goes backwards",
            forward.options == turned and backward.options.go_backwards,
            f"{forward.options}, {backward.options}",
        ),
        Reason(
            "the inputs are the same for both",
            not drops,
            "dropout draws a mask for each" if drops else "no dropout",
        ),
        Reason(
            "no step starts anew",
            forward.reset is None,
            "none" if forward.reset is None else "reset= was passed",
        ),
        Reason(
            "a masked LSTM starts from zeros",
            zeros or not masked or names[0] != "lstm",
            f"masked: {masked}, zeros: {zeros}",
        ),
    )


def execute_both(forward: Call, backward: Call) -> list[Ran]:
    """For each direction what `execute` returns; the `conditions` hold."""
    with forward.begun() as begun:
        results = fused.run_both(begun, backward)
    if not forward.options.return_sequences:
        return [Ran(*result) for result in results]
    return [Ran(swap_batch_and_time(outputs), states) for outputs, states in results]
