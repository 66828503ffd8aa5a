"""TensorFlow: one `tf.while_loop`, compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kcells.decoding.parts import Parts

__all__ = ["compiled", "written"]


def compiled(parts: Parts) -> Callable[[list[Any]], list[Any]]:
    """See the package."""

    def run(*given: Any) -> list[Any]:
        def turn(t: Any, carry: list[Any]) -> Any:
            return t + 1, parts.advance(t, carry, parts.step(carry))

        _, carry = tf.while_loop(
            lambda t, carry: (t < parts.length) & parts.goes_on(carry),
            turn,
            (tf.constant(0), parts.begin(list(given))),
        )
        return parts.finish(carry)

    program: Any = None

    def once_compiled(given: list[Any]) -> list[Any]:
        nonlocal program
        if program is None:
            # Not a `tf.function` to call: TensorFlow would count those of all programs, and warn
            # that so many are traced.
            traced = tf.function(run, jit_compile=True, autograph=False)
            program = traced.get_concrete_function(
                *(tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in given)
            )
        return list(program(*given))

    return once_compiled


def written(buffer: Any, position: Any, entry: Any) -> Any:
    """See the package."""
    return tf.tensor_scatter_nd_update(buffer, [[position]], entry[tf.newaxis])
