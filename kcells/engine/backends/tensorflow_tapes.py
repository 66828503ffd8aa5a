"""What tapes of TensorFlow see of a loop that XLA compiles, and what they need of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kcells.errors import ConfigurationError

__all__ = ["once", "tied", "unseen", "without_gaps"]


def unseen(call: Any, inputs: Sequence[Any], others: Sequence[Any] = ()) -> Any:
    """The results of `call(*inputs)`, which gives their gradient too, that of `others` as well.

    `tf.custom_gradient` does not keep the tapes around it from looking. What they see of a
    compiled function, such as two tapes at once, or one that is persistent, they prepare to
    differentiate, with tensor lists that XLA cannot hand out. So it gets what no tape follows.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def hidden(*tensors: Any) -> Any:
        return call(*map(tf.stop_gradient, tensors[: len(inputs)]))

    return hidden(*inputs, *others)


def once(gradient: Any, upstream: Sequence[Any], inputs: Sequence[Any]) -> Any:
    """`gradient(*upstream)`, unseen; its own gradient is an error.

    Nobody has one, and None, or zeros in forward mode, would be the worst answer.
    """

    def no_second(*_: Any) -> Any:
        raise ConfigurationError(
            "the gradient of a gradient was asked for, or one in forward mode, and a loop that XLA"
            " compiles has none in TensorFlow.\n"
            '  Pass compile="never" to the layer, and leave out jit_compile=True and, under that,'
            " checkpoint. TensorFlow then differentiates its own loop."
        )

    return unseen(lambda *given: (gradient(*given), no_second), upstream, inputs)


def tied(gradients: Sequence[Any]) -> list[Any]:
    """The same values, each of which depends on all.

    For `tape.jacobian` TensorFlow rewrites a loop for a batch of gradients, and what enters a step
    as a batch and leaves it alone gets one axis too many. XLA computes nothing for this.
    """
    zero = tf.constant(0.0)
    for gradient in gradients:
        # A number for every gradient, whatever is in it, and no constant, as zeros_like is.
        number = tf.cast(tf.math.is_nan(tf.reshape(gradient, [-1])[:1]), zero.dtype)
        zero += 0.0 * tf.reduce_sum(number)
    return [gradient + tf.cast(zero, gradient.dtype) for gradient in gradients]


def without_gaps(gradients: Sequence[Any], like: Sequence[Any]) -> list[list[Any]]:
    """Gradients in groups, with zeros where there is None; each of the shape of its like.

    The zeros come from their like, so that they are as many: see `tied`. For the gradient of a
    state that a step does not read, that is the gradient after the step.
    """
    return [
        [
            tf.where(True, tf.zeros_like(other), other) if g is None else tf.convert_to_tensor(g)
            for g, other in zip(group, others, strict=True)
        ]
        for group, others in zip(gradients, like, strict=True)
    ]
