"""`Law`: something that holds for every cell, and how it is looked at.

A law is a function of a `Subject`. It returns if the law holds, raises `ViolationError` if it
does not, and `NotApplicableError` where the cell does not claim what the law is about.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["Check", "Law", "NotApplicableError", "ViolationError", "law"]


Check: TypeAlias = Callable[[Any], None]
"""A function of a `Subject`, which knows nothing of laws."""


class ViolationError(Exception):
    """A law does not hold.

    Attributes:
        leaf: the tensor, weight or argument that shows it.
        difference: by how much it is off, where that is a number.
        allowed: how much it may be off.
    """

    def __init__(
        self,
        text: str,
        leaf: str = "",
        difference: float | None = None,
        allowed: float | None = None,
    ) -> None:
        super().__init__(text)
        self.leaf, self.difference, self.allowed = leaf, difference, allowed


class NotApplicableError(Exception):
    """The cell does not claim what the law is about, or this backend has nothing to check."""


@dataclasses.dataclass(frozen=True)
class Law:
    """A law.

    Attributes:
        name: a word or two, as in `only="causality"`.
        text: the law in one sentence.
        check: see the module.
        of_class: whether it is about the class, so that its first case is enough.
    """

    name: str
    text: str
    check: Check
    of_class: bool = False


def law(name: str, text: str, of_class: bool = False) -> Callable[[Check], Law]:
    """Makes a `Law` of the function that checks it."""

    def decorate(check: Check) -> Law:
        return Law(name, text, check, of_class)

    return decorate
