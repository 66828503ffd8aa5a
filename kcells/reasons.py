"""`Reason`: one condition with its answer, the coin in which every choice is explained."""

from __future__ import annotations

import dataclasses

__all__ = ["Reason"]


@dataclasses.dataclass(frozen=True)
class Reason:
    """One condition that was looked at.

    Attributes:
        condition: what was asked, in a few words.
        holds: the answer.
        detail: the value that decided it.

    Examples:

    >>> import kcells
    >>> kcells.Reason("there are no peepholes", False, "peepholes=True").holds
    False
    """

    condition: str
    holds: bool
    detail: str = ""
