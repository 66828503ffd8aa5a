"""TensorFlow: one `tf.while_loop`, compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kcells.decoding.parts import Parts

__all__ = ["compiled", "written"]


def compiled(parts: Parts) -> Callable[[list[Any]], list[Any]]:
    """See the package."""

    def run(given: list[Any]) -> list[Any]:
        def turn(t: Any, carry: list[Any]) -> Any:
            return t + 1, parts.advance(t, carry, parts.step(carry))

        _, carry = tf.while_loop(
            lambda t, carry: (t < parts.length) & parts.goes_on(carry),
            turn,
            (tf.constant(0), parts.begin(given)),
        )
        return parts.finish(carry)

    return tf.function(run, jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def written(buffer: Any, position: Any, entry: Any) -> Any:
    """See the package."""
    return tf.tensor_scatter_nd_update(buffer, [[position]], entry[tf.newaxis])
