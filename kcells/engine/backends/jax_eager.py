"""JAX outside of any trace: a loop is compiled once, not at every call.

`lax.scan` knows a loop by its Python function, and every call makes a new one, so that JAX
compiles it anew and keeps each program. What a call computes may be another thing every time (an
option was changed, a layer frozen), so it is traced every time; but the program of an equal trace
is there already.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

__all__ = ["PROGRAMS", "compiled_once"]

_MOST = 128
"""Programs that are kept: more than the layers and lengths that one uses at a time."""


class _Programs:
    """The programs that were used last, by the text of what they compute."""

    def __init__(self) -> None:
        self._by_text: OrderedDict[Any, Callable[..., Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_text)

    def of(self, closed: ClosedJaxpr) -> Callable[..., Any] | None:
        """Takes the constants of `closed`, then its arguments; None if no text tells it apart."""
        text = str(closed.jaxpr)
        # In the place of an array that is written into the program itself. A function, on the
        # other hand, shows as its address, and the program keeps it alive.
        if "[...]" in text:
            return None
        with self._lock:
            program = self._by_text.pop(text, None) or _program(closed.jaxpr)
            self._by_text[text] = program
            if len(self._by_text) > _MOST:
                self._by_text.popitem(last=False)
        return program


def _program(jaxpr: Any) -> Callable[..., Any]:
    def run(consts: Any, *leaves: Any) -> Any:
        return jaxpr_as_fun(ClosedJaxpr(jaxpr, consts))(*leaves)

    program: Callable[..., Any] = jax.jit(run)
    return program


PROGRAMS = _Programs()


def compiled_once(
    function: Callable[..., Any], arguments: Sequence[Any], reaches_for: Sequence[Any] = ()
) -> Any:
    """`function(*arguments)`, by a program of its own if nothing around it is traced.

    Args:
        function: takes and gives structures of arrays.
        arguments: the structures.
        reaches_for: arrays that it uses besides its arguments, as far as they are known.
    """
    leaves = jax.tree.leaves(arguments)
    if _any_traced([*leaves, *reaches_for]):
        return function(*arguments)
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    program = None if _any_traced(closed.consts) else PROGRAMS.of(closed)
    if program is None:
        return function(*arguments)
    return jax.tree.unflatten(jax.tree.structure(shapes), program(closed.consts, *leaves))


def _any_traced(arrays: Sequence[Any]) -> bool:
    return any(isinstance(array, jax.core.Tracer) for array in arrays)
