"""The loop of TensorFlow for any graph, and the tensor arrays that loops are made of."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import tree

from kcells.types import Step, Structure

__all__ = ["any_batch", "grouped", "plain_scan", "sink_of", "source_of"]


def plain_scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    emits: Structure,
    in_file: bool = False,
) -> tuple[Structure, Structure]:
    """`tf.while_loop` over tensor arrays; see `base.Backend.scan`.

    A file in the format ONNX (`in_file`) has no tensor lists outside of a loop: there an output
    of no steps gets its shape afterwards. And no step is read from a tensor array, by which tf2onnx
    takes whatever has the operations of an LSTM for one, in whichever order its gates are.
    """
    flat_xs = tree.flatten(xs)
    length = flat_xs[0].shape[0]
    known = length is not None
    if not known:
        length = tf.shape(flat_xs[0])[0]
    if in_file:
        reads = [functools.partial(tf.gather, x) for x in flat_xs]
    else:
        reads = [source_of(x, length).read for x in flat_xs]
    sinks = tuple(sink_of(spec, length) for spec in tree.flatten(emits))

    def body(time: Any, flat_carry: Any, sinks: Any) -> Any:
        x = tree.pack_sequence_as(xs, [read(time) for read in reads])
        new_carry, y = step(tree.pack_sequence_as(carry, list(flat_carry)), x)
        written = tuple(
            sink.write(time, leaf) for sink, leaf in zip(sinks, tree.flatten(y), strict=True)
        )
        return time + 1, tuple(tree.flatten(new_carry)), written

    flat_carry = tuple(tree.flatten(carry))
    _, flat_carry, sinks = tf.while_loop(
        lambda time, *_: time < length,
        body,
        (tf.constant(0), flat_carry, sinks),
        shape_invariants=(
            tf.TensorShape([]),
            tuple(any_batch(leaf.shape) for leaf in flat_carry),
            tuple(tf.TensorShape(None) for _ in sinks),
        ),
        maximum_iterations=length,
    )
    # What is cut when, for truncated gradients, may come without a batch.
    of_batch = next(x for x in flat_xs if len(x.shape) > 1)
    ys = [
        _stacked(sink, spec, length, known, in_file, of_batch)
        for sink, spec in zip(sinks, tree.flatten(emits), strict=True)
    ]
    return tree.pack_sequence_as(carry, list(flat_carry)), tree.pack_sequence_as(emits, ys)


def source_of(x: Any, length: Any) -> tf.TensorArray:
    """A tensor array that holds `x`, one entry a step."""
    return tf.TensorArray(x.dtype, size=length, element_shape=x.shape[1:]).unstack(x)


def sink_of(spec: Any, length: Any) -> tf.TensorArray:
    """An empty tensor array for entries like `spec`."""
    return tf.TensorArray(spec.dtype, size=length, element_shape=spec.shape)


def grouped(flat: Sequence[Any], groups: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Leaves in a row, in groups of the sizes of others."""
    rest = iter(flat)
    return [[next(rest) for _ in group] for group in groups]


def any_batch(shape: tf.TensorShape) -> tf.TensorShape:
    """A shape with the batch left open: part of a carry may know it where the rest does not."""
    return tf.TensorShape([None, *shape[1:]]) if shape.rank else shape


def _stacked(
    sink: tf.TensorArray, spec: Any, length: Any, known: bool, in_file: bool, x: Any
) -> Any:
    if known:
        return sink.stack()
    # A tensor array without an element cannot tell its batch size.
    shape = (length, tf.shape(x)[1], *spec.shape[1:])
    if in_file:
        return tf.reshape(sink.stack(), shape)
    return tf.cond(length > 0, sink.stack, lambda: tf.zeros(shape, spec.dtype))
