"""The policy of a layer: whether a built-in may stand in for its cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import keras

from kcells.engine import backends
from kcells.engine.kernels import Machine
from kcells.engine.plan import CellFacts, LayerFacts, MaskKind, Plan, choose
from kcells.errors import ArgumentError, DispatchError, table
from kcells.reasons import Reason
from kcells.types import Tensor

__all__ = [
    "Compile",
    "Dispatch",
    "cannot_dispatch",
    "check_compile",
    "check_dispatch",
    "plan_for",
]

Dispatch: TypeAlias = Literal["auto", "never", "require"]
Compile: TypeAlias = Literal["auto", "never"]


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


def check_compile(compile: Any) -> Compile:
    """`compile`, if it is a policy.

    Raises:
        ArgumentError: if it is none.
    """
    if compile not in get_args(Compile):
        raise ArgumentError(f'compile must be "auto" or "never"; received {compile!r}.')
    return compile  # type: ignore[no-any-return]


def plan_for(
    cell: CellFacts,
    dtype: str,
    layer: LayerFacts,
    inputs: Tensor = None,
    mask: MaskKind = "not known yet",
) -> Plan:
    """The plan for a call on this machine.

    Args:
        cell: the facts about the layer's cell.
        dtype: its compute dtype.
        layer: the layer's options.
        inputs: a tensor of the call, for its device; by default the backend's.
        mask: what mask the call has.
    """
    backend = backends.current()
    machine = Machine(keras.backend.backend(), backend.device(inputs), dtype, backend.under_xla())
    return choose(cell, layer, machine, mask)


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
