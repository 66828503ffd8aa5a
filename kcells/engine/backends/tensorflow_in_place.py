"""The loop of TensorFlow for a file of LiteRT, whose operations know no tensor lists.

Its converter does away with the lists of a tensor array only where their entries have a known
shape, which a batch does not, and otherwise asks for operations of TensorFlow that an
interpreter by itself does not have. So a step fetches its inputs by their index, and what it
gives is written into a tensor for all steps.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import tree

from kcells.engine.backends.tensorflow_plain import any_batch
from kcells.types import Step, Structure

__all__ = ["scan_in_place"]


def scan_in_place(
    step: Step, carry: Structure, xs: Structure, emits: Structure
) -> tuple[Structure, Structure]:
    """`tf.while_loop` over tensors; see `base.Backend.scan`."""
    flat_xs, specs = tree.flatten(xs), tree.flatten(emits)
    length = tf.shape(flat_xs[0])[0]
    # What is cut when, for truncated gradients, may come without a batch.
    batch = tf.shape(next(x for x in flat_xs if len(x.shape) > 1))[1]
    empty = [tf.zeros((length, batch, *spec.shape[1:]), spec.dtype) for spec in specs]

    def body(time: Any, flat_carry: Any, ys: Any) -> Any:
        x = tree.pack_sequence_as(xs, [tf.gather(leaf, time) for leaf in flat_xs])
        new_carry, y = step(tree.pack_sequence_as(carry, list(flat_carry)), x)
        written = tuple(
            tf.tensor_scatter_nd_update(whole, [[time]], leaf[tf.newaxis])
            for whole, leaf in zip(ys, tree.flatten(y), strict=True)
        )
        return time + 1, tuple(tree.flatten(new_carry)), written

    flat_carry = tuple(tree.flatten(carry))
    _, flat_carry, ys = tf.while_loop(
        lambda time, *_: time < length,
        body,
        (tf.constant(0), flat_carry, tuple(empty)),
        shape_invariants=(
            tf.TensorShape([]),
            tuple(any_batch(leaf.shape) for leaf in flat_carry),
            tuple(tf.TensorShape([None, None, *spec.shape[1:]]) for spec in specs),
        ),
    )
    for y, spec in zip(ys, specs, strict=True):
        y.set_shape((flat_xs[0].shape[0], *spec.shape))
    return tree.pack_sequence_as(carry, list(flat_carry)), tree.pack_sequence_as(emits, list(ys))
