"""PyTorch: the loop is Python; a step is traced once, and then runs without Keras.

Most of the time of a small step is not PyTorch's, but goes into calls of Keras' layers. The trace
holds PyTorch's operations alone. It is made of tensors without numbers, so that nothing which
depends on numbers can get into it unseen: a step that looks at some, draws some, or updates a
variable is called each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from kcells.cells.variables import current_value
from kcells.decoding.noting import Noting
from kcells.decoding.parts import Parts

__all__ = ["compiled", "written"]


def compiled(parts: Parts) -> Callable[[list[Any]], list[Any]]:
    """See the package."""
    traced: _Traced | None = None

    def run(given: list[Any]) -> list[Any]:
        nonlocal traced
        with torch.no_grad():
            carry = parts.begin(given)
            traced = traced or _Traced(parts.step, carry)
            step = traced.now()
            for t in range(parts.length):
                if not parts.goes_on(carry):
                    break
                carry = parts.advance(t, carry, step(carry))
            return parts.finish(carry)

    return run


class _Traced:
    """A function of tensors that also reads variables, traced if it can be.

    Args:
        function: the function; it is called once, so that what is wrong with it is said.
        leaves: what to call it with.
    """

    def __init__(self, function: Callable[[list[Any]], list[Any]], leaves: list[Any]) -> None:
        self._function = function
        with Noting() as scope:
            function(leaves)
        self._read = list(scope.read.values())
        self._graph = None if scope.updated else self._traced(leaves)

    def _traced(self, leaves: list[Any]) -> Any:
        def of_all(*tensors: Any) -> list[Any]:
            values, rest = tensors[: len(self._read)], tensors[len(self._read) :]
            with keras.StatelessScope(list(zip(self._read, values, strict=True))):
                return self._function(list(rest))

        try:
            return make_fx(of_all, tracing_mode="fake")(*map(current_value, self._read), *leaves)
        except Exception:
            # Whatever it is, the function itself has just run.
            return None

    def now(self) -> Callable[[list[Any]], list[Any]]:
        """The function with the values that variables have now."""
        if self._graph is None:
            return self._function
        graph, values = self._graph, list(map(current_value, self._read))
        return lambda leaves: list(graph(*values, *leaves))


def written(buffer: Any, position: int, entry: Any) -> Any:
    """See the package; in place, as nobody else has the buffer."""
    buffer[position] = entry
    return buffer
