"""JAX, for the checks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import keras

from kcells.testing.backends.base import is_float, weighted_sum

__all__ = ["compiled", "differentiated", "double_precision"]

# A check runs a program two or three times: XLA is told not to try hard.
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def differentiated(
    call: Callable[[list[Any]], list[Any]], trained: Sequence[Any], others: Sequence[Any]
) -> Callable[[Any, Any], tuple[list[Any], list[Any]]]:
    """See the package."""

    def loss(values: Any, floats: Any, rest: Any, kept: Any, cotangents: Any) -> Any:
        mapping = [*zip(trained, values, strict=True), *zip(others, kept, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            results = call(_merged(floats, rest))
        after = [scope.get_current_value(v) for v in others]
        return weighted_sum(results, cotangents), (results, after)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), compiler_options=_QUICK)

    def differentiate(leaves: Any, cotangents: Any) -> tuple[list[Any], list[Any]]:
        leaves = list(map(jax.numpy.asarray, leaves))
        (for_trained, for_leaves), (results, after) = gradient(
            [v.value for v in trained],
            [leaf if is_float(leaf) else None for leaf in leaves],
            [None if is_float(leaf) else leaf for leaf in leaves],
            [v.value for v in others],
            list(map(jax.numpy.asarray, cotangents)),
        )
        for variable, value in zip(others, after, strict=True):
            variable.assign(value)
        return results, [*for_trained, *(g for g in for_leaves if g is not None)]

    return differentiate


def _merged(floats: Sequence[Any], rest: Sequence[Any]) -> list[Any]:
    return [b if a is None else a for a, b in zip(floats, rest, strict=True)]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled as a whole."""
    return jax.jit(function)  # type: ignore[no-any-return]


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """A context in which JAX has float64."""
    before = bool(jax.config.jax_enable_x64)
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
