"""Values and gradients of a layer's call, the same on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["ValuesAndGradients"]

Call = Callable[[list[Any]], list[Any]]


class ValuesAndGradients:
    """Calls a layer, and differentiates the results weighted with cotangents.

    What the layer remembers (its variables that are not trained) is kept as the call
    leaves it, so it can be called batch after batch.

    Args:
        layer: a built layer.
        call: maps the leaves that go in to the list of results; calls `layer`.
    """

    def __init__(self, layer: keras.layers.Layer, call: Call) -> None:
        self._call = call
        self._trained = list(layer.trainable_variables)
        trained = {id(variable) for variable in self._trained}
        self._others = [v for v in layer.variables if id(v) not in trained]
        self._compiled: Any = None

    def __call__(
        self, leaves: Sequence[np.ndarray], cotangents: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Calls once.

        Args:
            leaves: the tensors that go in.
            cotangents: one for each result, of as many numbers.

        Returns:
            The results; the gradients for the trainable weights and then for the leaves.
        """
        by_backend = {"tensorflow": self._tensorflow, "jax": self._jax, "torch": self._torch}
        results, gradients = by_backend[keras.backend.backend()](leaves, cotangents)
        return _to_numpy(results), _to_numpy(gradients)

    def _tensorflow(self, leaves: Any, cotangents: Any) -> Any:
        import tensorflow as tf

        leaves = [tf.constant(leaf) for leaf in leaves]
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            results = self._call(leaves)
            loss = _weighted_sum(results, cotangents)
        sources = [v.value for v in self._trained] + leaves
        zero = tf.UnconnectedGradients.ZERO
        return results, tape.gradient(loss, sources, unconnected_gradients=zero)

    def _torch(self, leaves: Any, cotangents: Any) -> Any:
        import torch

        leaves = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
        results = self._call(leaves)
        loss = _weighted_sum(results, cotangents)
        sources = [v.value for v in self._trained] + leaves
        gradients = torch.autograd.grad(loss, sources, allow_unused=True, materialize_grads=True)
        return results, gradients

    def _jax(self, leaves: Any, cotangents: Any) -> Any:
        import jax

        def loss(trained: Any, leaves: Any, others: Any, cotangents: Any) -> Any:
            mapping = [
                *zip(self._trained, trained, strict=True),
                *zip(self._others, others, strict=True),
            ]
            with keras.StatelessScope(mapping) as scope:
                results = self._call(leaves)
            after = [scope.get_current_value(v) for v in self._others]
            return _weighted_sum(results, cotangents), (results, after)

        if self._compiled is None:
            # Compiling is what takes the time here, so XLA is told not to try hard.
            quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
            gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
            self._compiled = jax.jit(gradient, compiler_options=quick)
        (for_trained, for_leaves), (results, after) = self._compiled(
            [v.value for v in self._trained],
            list(map(jax.numpy.asarray, leaves)),
            [v.value for v in self._others],
            list(map(jax.numpy.asarray, cotangents)),
        )
        for variable, value in zip(self._others, after, strict=True):
            variable.assign(value)
        return results, [*for_trained, *for_leaves]


def _weighted_sum(results: Any, cotangents: Any) -> Any:
    return sum(
        ops.sum(r * ops.reshape(ops.convert_to_tensor(c, r.dtype), r.shape))
        for r, c in zip(results, cotangents, strict=True)
    )


def _to_numpy(tensors: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(tensor) for tensor in tensors]
