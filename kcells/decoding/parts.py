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
            carry = advance(t, carry, step(carry))
        return finish(carry)

    What costs most, and what a user has written, is the step; what is drawn at random is drawn in
    `advance`.

    Attributes:
        length: how many turns there are at most.
    """

    length: int

    def begin(self, given: list[Tensor]) -> list[Tensor]: ...

    def goes_on(self, carry: list[Tensor]) -> Tensor: ...

    def step(self, carry: list[Tensor]) -> list[Tensor]: ...

    def advance(self, t: Tensor, carry: list[Tensor], stepped: list[Tensor]) -> list[Tensor]: ...

    def finish(self, carry: list[Tensor]) -> list[Tensor]: ...
