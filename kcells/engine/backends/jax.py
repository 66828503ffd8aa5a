"""JAX: the loop is `lax.scan`; on an NVIDIA GPU there is cuDNN's LSTM.

A variable that a step updates (the state of a seed generator, say) would leak a tracer
out of the traced body. So the body runs in a stateless scope of its own, and the
updated values travel in the carry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import keras
from jax import lax
from jax import numpy as jnp
from jax.experimental.sparse import JAXSparse
from keras import ops, tree

from kcells._keras_private import exported_format
from kcells.cells.equivalence import BuiltinName
from kcells.cells.linear import Product, multiply
from kcells.cells.variables import check_updates, current_value
from kcells.engine.backends.base import DEFAULTS, Settings, SizeCheck, Weights
from kcells.engine.backends.jax_eager import compiled_once
from kcells.engine.backends.jax_products import with_products_ahead
from kcells.engine.thresholds import THRESHOLDS
from kcells.types import Step, Structure

__all__ = [
    "as_long_as",
    "as_one",
    "checked",
    "device",
    "fused",
    "has_numbers",
    "linear_scan",
    "made_dense",
    "scan",
    "steps_at",
    "transformed",
    "under_xla",
    "writes",
]


def device(tensor: Any = None) -> str:
    """See `base.Backend.device`: a tracer has no device, so the default one decides."""
    chosen = jax.config.jax_default_device  # inside of keras.device(...), for one
    platform = getattr(chosen, "platform", chosen) or jax.default_backend()
    return "gpu" if platform in ("gpu", "cuda") else "cpu"


def steps_at(sequence: Any, index: Any) -> Any:
    """See `base.Backend.steps_at`."""
    return ops.take_along_axis(sequence, index, axis=0)


def under_xla() -> bool:
    """See `base.Backend.under_xla`; whatever runs in JAX does, and its kernels know."""
    return False


def transformed(tensors: Iterable[Any]) -> bool:
    """See `base.Backend.transformed`; JAX transforms what a kernel does too."""
    return False


def has_numbers(tensor: Any) -> bool:
    """See `base.Backend.has_numbers`."""
    return True


def writes() -> str:
    """See `base.Backend.writes`."""
    return exported_format()


def fused(
    builtin: BuiltinName,
    inputs: Any,
    states: Sequence[Sequence[Any]],
    weights: Sequence[Weights],
) -> tuple[list[Any], list[list[Any]]]:
    """See `base.Backend.fused`; JAX offers cuDNN's LSTM and no GRU."""
    # Imported late: the module is experimental, and nobody needs it without a GPU.
    from jax.experimental import rnn

    length, batch, features = inputs.shape
    directions = len(weights)
    h, c = (jnp.stack(same) for same in zip(*states, strict=True))
    outputs, h, c = rnn.lstm(
        jnp.swapaxes(inputs, 0, 1),
        h,
        c,
        _flat_weights(weights),
        jnp.full((batch,), length, dtype="int32"),
        features,
        h.shape[-1],
        1,
        0.0,
        directions == 2,
    )
    outputs = jnp.split(jnp.swapaxes(outputs, 0, 1), directions, axis=-1)
    return list(outputs), [[h[k], c[k]] for k in range(directions)]


def _flat_weights(weights: Sequence[Weights]) -> Any:
    """All matrices of all directions, then all biases, those for the state being zero."""
    matrices = [m.T.ravel() for w in weights for m in (w.kernel, w.recurrent_kernel)]
    biases = [b for w in weights for b in (w.bias, jnp.zeros_like(w.bias))]
    return jnp.concatenate([*matrices, *biases])


def as_long_as(tensor: Any, like: Any) -> Any:
    """See `base.Backend.as_long_as`.

    Keras gives the length of each input of a model that is exported a symbol of its own, and
    JAX refuses to compute with two of them. If in the end they stand for two numbers, what
    comes out is NaN.
    """
    own, length = tensor.shape[1], like.shape[1]
    # Sizes of a `keras.KerasTensor` may be None, and no more will ever be known of them.
    if own == length or own is None or length is None:
        return tensor
    # Of the most common operations: the exporter for ONNX knows no other way either.
    steps = jnp.cumsum(jnp.ones((length,), "int32")) - 1
    found = jnp.take(tensor, steps, axis=1, mode="clip")
    agree = jnp.asarray(own) == jnp.asarray(length)
    # A mask must not hide it.
    if tensor.dtype == bool:
        return found | ~agree  # onnxruntime has no `where` of bools.
    nothing = jnp.nan if jnp.issubdtype(tensor.dtype, jnp.floating) else 1
    return jnp.where(agree, found, jnp.asarray(nothing, tensor.dtype))


def checked(tensors: Structure, sizes: Sequence[SizeCheck], who: str) -> Structure:
    """See `base.Backend.checked`: every size is known when a call is made."""
    return tensors


def made_dense(leaf: Any) -> str | None:
    """See `base.Backend.made_dense`."""
    return "x.todense()" if isinstance(leaf, JAXSparse) else None


def scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    *,
    emits: Structure,
    variables: Sequence[Any],
    settings: Settings = DEFAULTS,
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`."""
    if settings.project is not None:
        xs = settings.project(xs)
    updated = [v for v in variables if not v.trainable]
    fixed = [(v, current_value(v)) for v in variables if v.trainable]
    touched: set[int] = set()

    def body(state: Any, x: Any) -> Any:
        values, flat_carry = state
        mapping = [*fixed, *zip(updated, values, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            before = [scope.get_current_value(v) for v in updated]
            new_carry, y = step(
                tree.pack_sequence_as(carry, flat_carry), tree.pack_sequence_as(xs, x)
            )
        check_updates(scope, variables)
        new_values = [scope.get_current_value(v) for v in updated]
        touched.update(
            k for k, (old, new) in enumerate(zip(before, new_values, strict=True)) if old is not new
        )
        return (new_values, tree.flatten(new_carry)), tree.flatten(y)

    first = (
        [current_value(v) for v in updated],
        [jnp.asarray(leaf) for leaf in tree.flatten(carry)],
    )
    (values, flat_carry), ys = compiled_once(
        lambda first, xs: _scan(body, first, xs, settings),
        (first, [jnp.asarray(leaf) for leaf in tree.flatten(xs)]),
        [*(value for _, value in fixed), *first[0]],
    )
    # A frozen weight that no step has touched keeps its value: under mixed precision the
    # one in the carry has been rounded.
    for k in touched:
        updated[k].assign(values[k])
    return tree.pack_sequence_as(carry, flat_carry), tree.pack_sequence_as(emits, ys)


def _scan(body: Any, first: Any, xs: list[Any], settings: Settings) -> Any:
    """`lax.scan`; with checkpoints in blocks of steps, and what is left over after them."""
    length = xs[0].shape[0]
    if not settings.checkpoint or not isinstance(length, int):
        if settings.ahead is not None:
            body, xs = with_products_ahead(body, first, xs, settings.training, settings.ahead)
        if settings.checkpoint or _is_large(first[1]):
            # Faster than to keep, and read back, every number of every step.
            body = jax.checkpoint(body, prevent_cse=False)
        return lax.scan(body, first, xs)
    block = settings.block(length)
    whole = length - length % block

    # What the compiler might merge again is kept apart by the loop around it.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def of_a_block(state: Any, xs: Any) -> Any:
        return lax.scan(body, state, xs)

    # Not -1, which is no number of blocks where there are no features.
    blocks = [x[:whole].reshape(whole // block, block, *x.shape[1:]) for x in xs]
    state, ys = lax.scan(of_a_block, first, blocks)
    ys = [y.reshape(whole, *y.shape[2:]) for y in ys]
    if whole < length:
        state, rest = jax.checkpoint(lambda s, xs: lax.scan(body, s, xs))(
            state, [x[whole:] for x in xs]
        )
        ys = [jnp.concatenate(both) for both in zip(ys, rest, strict=True)]
    return state, ys


def _is_large(carry: list[Any]) -> bool:
    """Whether a step is so large that a CPU rather repeats it; not known for an export."""
    numbers = sum(leaf.size for leaf in carry)
    known = isinstance(numbers, int)
    return known and device() == "cpu" and numbers >= THRESHOLDS.jax_repeats_steps


def as_one(
    function: Callable[[Structure], Structure],
    given: Structure,
    variables: Sequence[Any],
    settings: Settings,
) -> Structure:
    """See `base.Backend.as_one`; JAX compiles it with what is around it."""
    return function(given)


def linear_scan(a: Any, b: Any, first: Any, product: Product, settings: Settings = DEFAULTS) -> Any:
    """See `base.Backend.linear_scan`.

    On a CPU a loop over this one operation is faster than the associative scan, whose work
    is a few times as much; a GPU is fast only with many numbers at once.
    """
    return compiled_once(functools.partial(_linear_scan, product), (a, b, first))


def _linear_scan(product: Product, a: Any, b: Any, first: Any) -> Any:
    if exported_format() == "onnx":
        # The exporter knows no complex numbers.
        return lax.scan(functools.partial(_one_step, product), first, (a, b))[1]
    if product == "complex":
        a, b, first = (lax.complex(x[..., 0], x[..., 1]) for x in (a, b, first))
    if device() == "gpu":
        b = b.at[0].add(a[0] * first)
        _, h = lax.associative_scan(_both_steps, (a, b))
    else:
        _, h = lax.scan(functools.partial(_one_step, "elementwise"), first, (a, b))
    return jnp.stack([h.real, h.imag], axis=-1) if product == "complex" else h


def _one_step(product: Product, h: Any, coefficients: Any) -> Any:
    a, b = coefficients
    h = multiply(product, a, h) + b
    return h, h


def _both_steps(first: Any, second: Any) -> Any:
    """The coefficients of two stretches of steps, one after the other."""
    return first[0] * second[0], second[0] * first[1] + second[1]
