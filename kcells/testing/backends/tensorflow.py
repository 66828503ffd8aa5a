"""TensorFlow, for the checks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kcells.testing.backends.base import is_float, weighted_sum

__all__ = ["compiled", "differentiated", "double_precision"]


def differentiated(
    call: Callable[[list[Any]], list[Any]], trained: Sequence[Any], others: Sequence[Any]
) -> Callable[[Any, Any], tuple[list[Any], list[Any]]]:
    """See the package."""

    # What `fit` runs: kcells' loop compiles itself there, with a backward pass of its own.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def program(leaves: list[Any], cotangents: list[Any]) -> tuple[list[Any], list[Any]]:
        floats = [leaf for leaf in leaves if is_float(leaf)]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            results = call(leaves)
            loss = weighted_sum(results, cotangents)
        sources = [v.value for v in trained] + floats
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, sources, unconnected_gradients=zero)
        return results, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def differentiate(leaves: Any, cotangents: Any) -> tuple[list[Any], list[Any]]:
        return program(list(map(tf.constant, leaves)), list(map(tf.constant, cotangents)))  # type: ignore[no-any-return]

    return differentiate


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled by XLA as a whole."""
    return tf.function(function, jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """TensorFlow always has float64."""
    return contextlib.nullcontext()
