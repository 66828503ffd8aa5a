"""Results and gradients of a call, the same on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kcells.testing import backends

__all__ = ["Differentiated"]


class Differentiated:
    """Calls a layer, and differentiates the results, weighted with cotangents.

    What the layer remembers (its variables that are not trained) is kept as the call
    leaves it, so it can be called batch after batch. On JAX and TensorFlow a call is a program,
    made once for all that have these shapes.

    Args:
        layer: a built layer.
        call: maps the leaves that go in to the list of results; calls `layer`.

    Examples:

    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> dense.build((None, 2))
    >>> square = Differentiated(dense, lambda leaves: [dense(leaves[0]) ** 2])
    >>> results, gradients = square([np.float32([[1.0, 2.0]])], [np.float32([[1.0]])])
    >>> [array.tolist() for array in gradients]
    [[[6.0], [12.0]], [[6.0, 6.0]]]
    """

    def __init__(self, layer: keras.layers.Layer, call: Callable[[list[Any]], list[Any]]) -> None:
        trained = list(layer.trainable_variables)
        known = {id(variable) for variable in trained}
        others = [v for v in layer.variables if id(v) not in known]
        self._differentiate = backends.current().differentiated(call, trained, others)

    def __call__(
        self, leaves: Sequence[np.ndarray[Any, Any]], cotangents: Sequence[np.ndarray[Any, Any]]
    ) -> tuple[list[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
        """Calls once.

        Args:
            leaves: the tensors that go in.
            cotangents: one for each result, of as many numbers.

        Returns:
            The results; the gradients for the trainable weights and then for the leaves
            that are floats, zeros for what a gradient does not reach.
        """
        results, gradients = self._differentiate(leaves, cotangents)
        return _to_numpy(results), _to_numpy(gradients)


def _to_numpy(tensors: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]
