"""An LSTM or GRU of TensorFlow as a loop that becomes one operator of ONNX.

tf2onnx knows both by the operations of a step, and by the tensor arrays that it reads and writes.
Where its next version does not, the loop is a loop in the file too, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kcells.cells.equivalence import BuiltinName
from kcells.engine.backends.base import Weights
from kcells.engine.backends.tensorflow_plain import source_of

__all__ = ["as_operator"]


def as_operator(
    builtin: BuiltinName, inputs: Any, states: Sequence[Any], weights: Weights
) -> tuple[Any, list[Any]]:
    """All outputs `(time, batch, units)` and the final states; see `base.Backend.fused`."""
    one_step: Any = {"lstm": _lstm, "gru": _gru}[builtin]
    weights = Weights(*map(tf.convert_to_tensor, weights))
    biases = [weights.bias] if builtin == "lstm" else tf.unstack(weights.bias)
    length = tf.shape(inputs)[0]
    source = source_of(inputs, length)
    shape = tf.TensorShape([None, weights.recurrent_kernel.shape[0]])
    sink = tf.TensorArray(inputs.dtype, size=length, element_shape=shape)

    def body(time: Any, states: Any, sink: Any) -> Any:
        new = one_step(
            source.read(time), *states, weights.kernel, weights.recurrent_kernel, *biases
        )
        return time + 1, new, sink.write(time, new[0])

    _, states, sink = tf.while_loop(
        lambda time, *_: time < length,
        body,
        (tf.constant(0), tuple(states), sink),
        shape_invariants=(tf.TensorShape([]), (shape,) * len(states), tf.TensorShape(None)),
        maximum_iterations=length,
    )
    outputs = sink.stack()
    outputs.set_shape((inputs.shape[0], inputs.shape[1], shape[1]))
    return outputs, list(states)


def _lstm(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    gates = tf.nn.bias_add(x @ kernel + h @ recurrent_kernel, bias)
    i, f, candidate, o = tf.split(gates, 4, axis=1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(candidate)
    return tf.sigmoid(o) * tf.tanh(c), c


def _gru(x: Any, h: Any, kernel: Any, recurrent_kernel: Any, bias: Any, recurrent_bias: Any) -> Any:
    x_z, x_r, x_candidate = tf.split(tf.nn.bias_add(x @ kernel, bias), 3, axis=1)
    product = tf.nn.bias_add(h @ recurrent_kernel, recurrent_bias)
    h_z, h_r, h_candidate = tf.split(product, 3, axis=1)
    z = tf.sigmoid(x_z + h_z)
    candidate = tf.tanh(x_candidate + tf.sigmoid(x_r + h_r) * h_candidate)
    return (z * h + (1 - z) * candidate,)
