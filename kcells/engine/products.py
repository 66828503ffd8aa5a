"""Which products of a step's inputs alone are worth computing before the loop, on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from kcells.engine.thresholds import THRESHOLDS

__all__ = ["USUAL_BATCH", "InputProduct", "are_possible", "pays"]

USUAL_BATCH = 32
"""Stands for a batch that is not known: `fit` of Keras makes batches of 32."""


class InputProduct(NamedTuple):
    """A product of inputs with weights.

    Attributes:
        weights: how many numbers a step reads that are the same at every step.
        results: how many numbers it gives at a step, over the whole batch.
    """

    weights: int
    results: int


def pays(product: InputProduct, training: bool) -> bool:
    """Whether to write down the products of all steps, and not to read the weights at each.

    A backward pass besides adds up the gradient of all weights at each step.
    """
    return product.weights >= _least(training) * product.results


def are_possible(shapes: Sequence[Sequence[int | None]], training: bool) -> bool:
    """Whether some product could pay, for inputs of one step with these shapes.

    The weights of a product with rows of inputs are as many as a row has numbers, times
    the results of a row.
    """
    # A `tf.TensorShape` without axes is true.
    shapes = [tuple(shape) for shape in shapes]
    batch = next((shape[0] for shape in shapes if shape), 1)
    rows = USUAL_BATCH if batch is None else batch
    known = [[size for size in shape[1:] if isinstance(size, int)] for shape in shapes]
    if not isinstance(rows, int) or list(map(len, known)) != [max(0, len(s) - 1) for s in shapes]:
        return False
    return max(map(math.prod, known), default=0) >= _least(training) * rows


def _least(training: bool) -> int:
    return (
        THRESHOLDS.products_ahead_in_training if training else THRESHOLDS.products_ahead_otherwise
    )
