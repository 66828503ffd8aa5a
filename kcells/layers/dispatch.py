"""The policy of a layer: whether a built-in may stand in for its cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import keras
from keras import tree

from kcells.engine import backends
from kcells.engine.facts import LayerFacts, MaskKind, facts_of
from kcells.engine.kernels import Machine
from kcells.engine.plan import Plan, choose
from kcells.errors import ArgumentError, DispatchError, table
from kcells.reasons import Reason
from kcells.types import Structure, Tensor

__all__ = [
    "POLICIES",
    "Choice",
    "Dispatch",
    "cannot_dispatch",
    "check_checkpoint",
    "check_choice",
    "check_dispatch",
    "check_tbptt",
    "plan_for",
    "settings_of",
]

Dispatch: TypeAlias = Literal["auto", "never", "require"]
Choice: TypeAlias = Literal["auto", "never"]

POLICIES: dict[str, Any] = {
    "dispatch": "never",
    "compile": "auto",
    "parallel": "auto",
    "checkpoint": False,
    "tbptt": None,
}
"""The arguments of `RNN` that say how it runs, with their defaults."""


def check_dispatch(dispatch: Any) -> Dispatch:
    """`dispatch`, if it is a policy.

    Raises:
        ArgumentError: if it is none.
    """
    if dispatch not in get_args(Dispatch):
        raise ArgumentError(
            f'dispatch must be "auto", "never" or "require"; received {dispatch!r}.'
        )
    return dispatch  # type: ignore[no-any-return]


def check_tbptt(steps: Any) -> int | None:
    """`steps`, if gradients can be cut after so many.

    Raises:
        ArgumentError: if they can't.
    """
    if steps is None or _is_count(steps):
        return steps  # type: ignore[no-any-return]
    raise ArgumentError(
        f"tbptt must be a positive int, the number of steps that a gradient goes back, or"
        f" None; received {steps!r}."
    )


def check_checkpoint(checkpoint: Any, unroll: bool) -> bool | int:
    """`checkpoint`, if it says how long a block of steps is.

    Raises:
        ArgumentError: if it doesn't, or if the steps are written out.
    """
    if not isinstance(checkpoint, bool) and not _is_count(checkpoint):
        raise ArgumentError(
            f"checkpoint must be a bool or a positive int, the number of steps in a block;"
            f" received {checkpoint!r}."
        )
    if checkpoint and unroll:
        raise ArgumentError(
            "checkpoint saves memory for long sequences, and unroll=True writes out short ones."
            "\n  Leave one of them out."
        )
    return checkpoint  # type: ignore[no-any-return]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_choice(name: str, choice: Any) -> Choice:
    """`choice`, if it is one for the policy `name`.

    Raises:
        ArgumentError: if it is none.
    """
    if choice not in get_args(Choice):
        raise ArgumentError(f'{name} must be "auto" or "never"; received {choice!r}.')
    return choice  # type: ignore[no-any-return]


def plan_for(
    layer: Any,
    given: Structure = None,
    mask: MaskKind = "not known yet",
    takes_constants: bool = False,
    obstacle: str = "",
) -> Plan:
    """The plan for a call of a `kcells.RNN` on this machine.

    Args:
        layer: the layer.
        given: what goes into the call, the sequences first: for their device, which is the
            backend's by default, and for a transform that looks inside.
        mask: what mask the call has.
        takes_constants: whether it has constants.
        obstacle: what is known to keep the loop from being compiled. A new call has to find
            out for itself: another trace may have no such thing in its way.
    """
    backend = backends.current()
    machine = Machine(
        keras.backend.backend(),
        backend.device(tree.flatten(given)[0]),
        layer.bound.compute_dtype,
        backend.under_xla(),
        backend.transformed(_all_that_goes_in(layer.cell, given)),
        backend.writes(),
    )
    facts = LayerFacts(
        layer.dispatch,
        layer.unroll,
        takes_constants,
        layer.compile,
        obstacle,
        layer.tbptt,
        bool(layer.checkpoint),
        layer.parallel,
    )
    return choose(facts_of(layer.bound), facts, machine, mask)


def _all_that_goes_in(cell: Any, given: Structure) -> Iterator[Tensor]:
    yield from tree.flatten(given)
    if isinstance(cell, keras.layers.Layer):
        yield from (variable.value for variable in cell.variables)


def settings_of(layer: Any, **defaults: Any) -> dict[str, Any]:
    """The policies of a layer that are not the default, for its configuration."""
    given = {name: getattr(layer, name) for name in POLICIES}
    return {k: value for k, value in given.items() if value != {**POLICIES, **defaults}[k]}


def cannot_dispatch(cell: str, reasons: Sequence[Reason]) -> DispatchError:
    """The error for `dispatch="require"`, with every reason that stands in the way."""
    against = [(reason.condition, reason.detail) for reason in reasons if not reason.holds]
    error = DispatchError(
        f'{cell}: dispatch="require" was asked for, and no built-in layer can stand in.\n'
        f"  It would take:\n{table(against, indent='    ')}\n"
        '  Change these, or use dispatch="auto", which runs the cell in a loop.'
    )
    error.reasons = tuple(reasons)
    return error
