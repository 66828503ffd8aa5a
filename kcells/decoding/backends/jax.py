"""JAX: one `lax.while_loop` in one `jit`.

A step may be any function, and nobody has said which variables it reads, such as weights. What it
reads would be a constant of the compiled program, and what it updates would be lost. So the first
thing is a trace in a scope that notes both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import keras
from jax import lax

from kcells.cells.variables import current_value
from kcells.decoding.noting import Noting
from kcells.decoding.parts import Parts

__all__ = ["compiled", "written"]


def compiled(parts: Parts) -> Callable[[list[Any]], list[Any]]:
    """See the package."""
    read: list[Any] = []
    updated: list[Any] = []
    is_known = False

    def run_with(fixed: list[Any], values: list[Any], given: list[Any]) -> tuple[Any, Any]:
        def turn(state: Any) -> Any:
            t, values, carry = state
            mapping = [*zip(read, fixed, strict=True), *zip(updated, values, strict=True)]
            with keras.StatelessScope(mapping) as scope:
                carry = parts.advance(t, carry, parts.step(carry))
                values = [scope.get_current_value(variable) for variable in updated]
            return t + 1, values, carry

        _, values, carry = lax.while_loop(
            lambda state: (state[0] < parts.length) & parts.goes_on(state[2]),
            turn,
            (0, values, parts.begin(given)),
        )
        return parts.finish(carry), values

    def once(given: list[Any]) -> list[Any]:
        carry = parts.begin(given)
        return parts.advance(0, carry, parts.step(carry))

    program = jax.jit(run_with)

    def run(given: list[Any]) -> list[Any]:
        nonlocal is_known
        if not is_known:
            with Noting() as scope:
                jax.eval_shape(once, given)
            updated.extend(scope.updated.values())
            read.extend(v for key, v in scope.read.items() if key not in scope.updated)
            is_known = True
        fixed, values = ([current_value(v) for v in group] for group in (read, updated))
        results, values = program(fixed, values, given)
        for variable, value in zip(updated, values, strict=True):
            variable.assign(value)
        return results  # type: ignore[no-any-return]

    return run


def written(buffer: Any, position: Any, entry: Any) -> Any:
    """See the package."""
    return buffer.at[position].set(entry)
