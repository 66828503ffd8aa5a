"""What a backend has to know of a loop that it does not know the length of."""

from __future__ import annotations

from typing import Protocol

from kcells.types import Tensor

__all__ = ["Parts"]


class Parts(Protocol):
    """A loop in parts, all of flat lists of tensors:

        carry = begin(given)
        for t in range(length):
            if not goes_on(carry): break
            carry = turn(t, carry)
        return finish(carry)

    Attributes:
        length: how many turns there are at most.
    """

    length: int

    def begin(self, given: list[Tensor]) -> list[Tensor]: ...

    def goes_on(self, carry: list[Tensor]) -> Tensor: ...

    def turn(self, t: Tensor, carry: list[Tensor]) -> list[Tensor]: ...

    def finish(self, carry: list[Tensor]) -> list[Tensor]: ...
