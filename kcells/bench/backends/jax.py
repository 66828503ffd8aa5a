"""Bare products in JAX: one XLA program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcells.bench.timing import Loop

__all__ = ["products"]


def products(shapes: Sequence[tuple[int, int]], batch: int, steps: int) -> Loop:
    """Multiplies `(batch, rows)` by `(rows, columns)` `steps` times, for all shapes."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    # Two inputs that take turns: with one the compiler takes the product out of the loop.
    xs = [jnp.asarray(rng.normal(size=(2, batch, rows)), "float32") for rows, _ in shapes]
    ws = [jnp.asarray(rng.normal(size=shape), "float32") for shape in shapes]

    def multiply(xs: list[Any], ws: list[Any], count: Any) -> Any:
        def body(t: Any, sums: list[Any]) -> list[Any]:
            return [s + x[t % 2] @ w for s, x, w in zip(sums, xs, ws, strict=True)]

        zeros = [jnp.zeros((batch, columns), "float32") for _, columns in shapes]
        return jax.lax.fori_loop(0, count, body, zeros)

    compiled = jax.jit(multiply)
    return Loop(lambda repeats: jax.block_until_ready(compiled(xs, ws, steps * repeats)))
