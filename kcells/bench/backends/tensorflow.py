"""Bare products in TensorFlow: one XLA program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcells.bench.timing import Loop

__all__ = ["products"]


def products(shapes: Sequence[tuple[int, int]], batch: int, steps: int) -> Loop:
    """Multiplies `(batch, rows)` by `(rows, columns)` `steps` times, for all shapes."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    # Two inputs that take turns: with one the compiler takes the product out of the loop.
    xs = [tf.constant(rng.normal(size=(2, batch, rows)), tf.float32) for rows, _ in shapes]
    ws = [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]

    def multiply(xs: list[Any], ws: list[Any], count: Any) -> Any:
        def body(t: Any, sums: list[Any]) -> tuple[Any, list[Any]]:
            return t + 1, [s + x[t % 2] @ w for s, x, w in zip(sums, xs, ws, strict=True)]

        zeros = [tf.zeros((batch, columns)) for _, columns in shapes]
        _, sums = tf.while_loop(lambda t, _: t < count, body, (0, zeros))
        return tf.add_n([tf.reduce_sum(s) for s in sums])

    compiled = tf.function(multiply, jit_compile=True, autograph=False)
    return Loop(lambda repeats: compiled(xs, ws, tf.constant(steps * repeats)).numpy())
