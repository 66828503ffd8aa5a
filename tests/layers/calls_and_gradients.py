"""Results and all gradients of a call, in every way in which a backend runs one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops, tree

__all__ = [
    "MORE_WAYS",
    "WAYS",
    "assert_same",
    "call",
    "close",
    "differentiate",
    "numbers",
    "on_jax",
    "on_tensorflow",
    "on_torch",
    "rare",
]

WAYS = {"tensorflow": ("graph", "xla", "eager")}.get(keras.backend.backend(), ("graph",))
"""The ways to test on this backend. JAX always compiles here, PyTorch never does."""


def rare(*values: Any) -> Any:
    """A case of which PyTorch, where nothing has to be compiled, runs all, and others one in eight.

    What they cross is mostly written once for all backends; the eighth that is left runs
    everywhere, though not in `make check`. `conftest.py` at the top draws it.
    """
    return pytest.param(*values, marks=[pytest.mark.slow, pytest.mark.one_in(8)])


MORE_WAYS = [WAYS[0], *map(rare, WAYS[1:])]
"""`WAYS`, all but the first of them rare."""

Both = tuple[list[np.ndarray], list[np.ndarray]]


def differentiate(
    function: Callable[[list[Any]], Sequence[Any]],
    layer: keras.layers.Layer,
    arrays: Sequence[np.ndarray],
    way: str = "graph",
    signature: Any = None,
) -> Both:
    """What `function(tensors)` gives, and the gradients of a sum over all of it.

    Args:
        function: calls `layer`; gives a flat list of floats.
        layer: a built layer. What it updates is kept as the call leaves it.
        arrays: the tensors that go in.
        way: one of `WAYS`.
        signature: for `tf.function`.

    Returns:
        The results; the gradients for the weights of the layer, then for the arrays.
    """
    by_backend = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    results, found = by_backend[keras.backend.backend()](function, layer, arrays, way, signature)
    return [_numpy(r) for r in results], [_numpy(g) for g in found]


def call(
    layer: keras.layers.Layer,
    inputs: Any,
    states: Any = None,
    way: str = "graph",
    signature: Any = None,
    **arguments: Any,
) -> Both:
    """`differentiate` of one call: results; gradients for weights, inputs and states."""
    leaves = tree.flatten((inputs, states)) if states is not None else tree.flatten(inputs)
    count = len(tree.flatten(inputs))
    if not layer.built:
        layer.build(tree.map_structure(lambda x: x.shape, inputs))

    def function(tensors: list[Any]) -> list[Any]:
        given = dict(arguments)
        if states is not None:
            given["initial_state"] = tree.pack_sequence_as(states, list(tensors[count:]))
        sequences = tree.pack_sequence_as(inputs, list(tensors[:count]))
        return list(tree.flatten(layer(sequences, **given)))

    return differentiate(function, layer, leaves, way, signature)


def assert_same(ours: Both, theirs: Both, tolerance: float = 1e-10) -> None:
    """Relative to the largest number of each tensor."""
    for what, group, others in zip(("result", "gradient"), ours, theirs, strict=True):
        assert len(group) == len(others) > 0
        for k, (a, b) in enumerate(zip(group, others, strict=True)):
            assert a.shape == b.shape, f"{what} {k}"
            scale = max(1.0, np.abs(b).max(initial=0.0))
            error = np.abs(a - b).max(initial=0.0) / scale
            assert error <= tolerance, f"{what} {k}: off by {error:.3g}"


def _loss(results: Sequence[Any]) -> Any:
    # Of no shape's own, as shapes may be unknown; zeros add nothing.
    wide = [ops.cast(r, "float64") for r in results]
    return sum(ops.sum(ops.sin((k + 1.5) * r)) for k, r in enumerate(wide))


def _numpy(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(ops.cast(tensor, "float64")))


def _tensorflow(function: Any, layer: Any, arrays: Any, way: str, signature: Any) -> Any:
    import tensorflow as tf

    def both(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = function(list(tensors))
            loss = _loss(results)
        sources = [v.value for v in layer.trainable_variables] + list(tensors)
        found = tape.gradient(loss, sources, unconnected_gradients="zero")
        return results, [tf.convert_to_tensor(g) for g in found]

    if way != "eager":
        both = tf.function(both, jit_compile=way == "xla" or None, input_signature=signature)
    return both(*map(tf.constant, arrays))


def _torch(function: Any, layer: Any, arrays: Any, way: str, signature: Any) -> Any:
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    results = function(list(tensors))
    sources = [v.value for v in layer.trainable_variables] + tensors
    return results, torch.autograd.grad(
        _loss(results), sources, allow_unused=True, materialize_grads=True
    )


def _jax(function: Any, layer: Any, arrays: Any, way: str, signature: Any) -> Any:
    import jax

    trained = list(layer.trainable_variables)
    known = {id(v) for v in trained}
    others = [v for v in layer.variables if id(v) not in known]

    def loss(values: Any, tensors: Any, rest: Any) -> Any:
        mapping = [*zip(trained, values, strict=True), *zip(others, rest, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            results = function(list(tensors))
        return _loss(results), (results, [scope.get_current_value(v) for v in others])

    # Compiling is what takes the time here, so XLA is told not to try hard.
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), compiler_options=quick)
    (for_trained, for_tensors), (results, after) = gradient(
        [v.value for v in trained],
        [jax.numpy.asarray(array) for array in arrays],
        [v.value for v in others],
    )
    for variable, value in zip(others, after, strict=True):
        variable.assign(value)
    return results, [*for_trained, *for_tensors]


def numbers(structure: Any) -> list[np.ndarray]:
    """The leaves, as NumPy arrays."""
    return [_numpy(leaf) for leaf in tree.flatten(structure)]


def close(ours: Any, theirs: Any, tolerance: float = 1e-10) -> None:
    """Leaf by leaf."""
    for a, b in zip(numbers(ours), numbers(theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


on_tensorflow, on_jax, on_torch = (
    pytest.mark.skipif(name != keras.backend.backend(), reason=f"about {name}")
    for name in ("tensorflow", "jax", "torch")
)
"""Marks for what one backend alone does."""
