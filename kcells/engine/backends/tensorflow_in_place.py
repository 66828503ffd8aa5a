"""The loop of TensorFlow for a file of LiteRT, whose operations know no tensor lists.

Its converter does away with the lists of a tensor array only where their entries have a known
shape, which a batch does not, and otherwise asks for operations of TensorFlow that an
interpreter by itself does not have. So a step fetches its inputs by their index, and what it
gives is written into a tensor. Such a write copies the tensor:

    for each block of steps, as many blocks as there are steps in one:
        for each step of the block: rows[step] = its output
        outputs[block] = rows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    block = _root(length) if specs else tf.maximum(1, length)
    blocks = (length + block - 1) // block
    # What is cut when, for truncated gradients, may come without a batch.
    batch = tf.shape(next(x for x in flat_xs if len(x.shape) > 1))[1]
    none_yet = [tf.zeros((block, batch, *spec.shape[1:]), spec.dtype) for spec in specs]

    def one_step(time: Any, flat_carry: Any) -> tuple[list[Any], list[Any]]:
        x = tree.pack_sequence_as(xs, [tf.gather(leaf, time) for leaf in flat_xs])
        new_carry, y = step(tree.pack_sequence_as(carry, flat_carry), x)
        return tree.flatten(new_carry), tree.flatten(y)

    def one_block(number: Any, flat_carry: Any) -> tuple[list[Any], list[Any]]:
        first = number * block
        steps = tf.minimum(block, length - first)
        return _loop(lambda t, c: one_step(first + t, c), steps, flat_carry, none_yet)

    empty = [tf.zeros((blocks, block, batch, *spec.shape[1:]), spec.dtype) for spec in specs]
    last, written = _loop(one_block, blocks, tree.flatten(carry), empty)
    ys = [
        tf.reshape(y, (blocks * block, batch, *spec.shape[1:]))[:length]
        for y, spec in zip(written, specs, strict=True)
    ]
    for y, spec in zip(ys, specs, strict=True):
        y.set_shape((flat_xs[0].shape[0], *spec.shape))
    return tree.pack_sequence_as(carry, last), tree.pack_sequence_as(emits, ys)


def _root(length: Any) -> Any:
    """The root of a number, rounded up; at least 1."""
    root = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(length, tf.float32))), tf.int32)
    return tf.maximum(1, root)


def _loop(
    body: Callable[[Any, list[Any]], tuple[list[Any], list[Any]]],
    count: Any,
    carry: Sequence[Any],
    buffers: Sequence[Any],
) -> tuple[list[Any], list[Any]]:
    """`body(number, carry)` so many times; what it gives besides the new carry is written down."""

    def write_down(number: Any, carry: Any, buffers: Any) -> Any:
        new, rows = body(number, list(carry))
        written = [
            tf.tensor_scatter_nd_update(buffer, [[number]], row[tf.newaxis])
            for buffer, row in zip(buffers, rows, strict=True)
        ]
        return number + 1, tuple(new), tuple(written)

    _, last, written = tf.while_loop(
        lambda number, *_: number < count,
        write_down,
        (tf.constant(0), tuple(carry), tuple(buffers)),
        shape_invariants=(
            tf.TensorShape([]),
            tuple(any_batch(leaf.shape) for leaf in carry),
            tuple(buffer.shape for buffer in buffers),
        ),
    )
    return list(last), list(written)
