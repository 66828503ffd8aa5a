"""The interface of a backend: one loop primitive.

Masks, carry-over, reversal and the choice of outputs are written once, above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from kcells.types import Step, Structure

__all__ = ["Backend", "SizeCheck"]


class SizeCheck(NamedTuple):
    """Axis `axis` of `tensor`, named `path`, has to be as long as that of `reference`."""

    path: str
    tensor: Any
    axis: int
    reference: Any
    axis_name: str


class Backend(Protocol):
    """What each module of this package has to offer."""

    def scan(
        self,
        step: Step,
        carry: Structure,
        xs: Structure,
        *,
        emits: Structure,
        variables: Sequence[Any],
    ) -> tuple[Structure, Structure]:
        """Runs `step` over the leading axis of `xs`.

        Args:
            step: `(carry, x) -> (carry, y)`; the carry keeps structure, shapes and
                dtypes.
            carry: the first carry.
            xs: a structure of `(time, ...)`; at least one step.
            emits: specs of `y`, whose first axis is the batch and may be None; an empty
                list if `step` gives no `y`.
            variables: the variables that a step may update, such as seeds.

        Returns:
            The last carry, and the structure of all `y`, `(time, ...)`.
        """
        ...

    def check_sizes(self, sizes: Sequence[SizeCheck], who: str) -> None:
        """Checks at run time what is not known before: sizes that have to agree.

        Raises:
            The backend's own error, with the message of the first check that fails.
        """
        ...
