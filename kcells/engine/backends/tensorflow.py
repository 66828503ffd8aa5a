"""TensorFlow: the loop is `tf.while_loop` over tensor arrays; an NVIDIA GPU has cuDNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kcells.cells.equivalence import BuiltinName
from kcells.engine.backends.base import Compiling, SizeCheck, Weights
from kcells.engine.backends.tensorflow_loops import CompiledLoop, plain_scan
from kcells.types import Step, Structure

__all__ = ["check_sizes", "device", "fused", "scan", "under_xla"]


def device(tensor: Any = None) -> str:
    """See `base.Backend.device`: a graph is placed only when it runs, so what is there
    decides."""
    is_cuda = bool(tf.sysconfig.get_build_info().get("is_cuda_build"))
    return "gpu" if is_cuda and tf.config.list_logical_devices("GPU") else "cpu"


def under_xla() -> bool:
    """See `base.Backend.under_xla`.

    `tf.function(jit_compile=True)` opens a control-flow context around what it traces.
    TensorFlow has no public name for it; `tests/engine` fails when the private one goes.
    """
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()
        if context is not None and context.IsXLAContext():
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def fused(
    builtin: BuiltinName,
    inputs: Any,
    states: Sequence[Sequence[Any]],
    weights: Sequence[Weights],
) -> tuple[list[Any], list[list[Any]]]:
    """See `base.Backend.fused`; one direction, which is what TensorFlow offers."""
    ((own,), (initial,)) = weights, states
    length, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    outputs, h, c, *_ = tf.raw_ops.CudnnRNNV3(
        input=inputs,
        input_h=initial[0][tf.newaxis],
        input_c=initial[1][tf.newaxis] if builtin == "lstm" else 0,
        params=_flat_weights(builtin, own),
        sequence_lengths=tf.fill([batch], length),
        rnn_mode=builtin,
        time_major=True,
        # Without it nothing is kept for the backward pass.
        is_training=True,
    )
    return [outputs], [[h[0], c[0]] if builtin == "lstm" else [h[0]]]


def _flat_weights(builtin: BuiltinName, weights: Weights) -> Any:
    """All blocks of both matrices, transposed, then all blocks of the biases."""
    kernel, recurrent_kernel, bias = map(tf.convert_to_tensor, weights)
    blocks = 4 if builtin == "lstm" else 3
    # The second bias of an LSTM acts as a sum with the first.
    biases = [bias, tf.zeros_like(bias)] if builtin == "lstm" else tf.unstack(bias)
    matrices, shifts = [], []
    for matrix, shift in zip((kernel, recurrent_kernel), biases, strict=True):
        matrices += _in_order(builtin, tf.split(matrix, blocks, axis=1))
        shifts += _in_order(builtin, tf.split(shift, blocks))
    flat = [tf.reshape(tf.transpose(block), [-1]) for block in matrices]
    return tf.concat([*flat, *shifts], axis=0)


def _in_order(builtin: BuiltinName, blocks: list[Any]) -> list[Any]:
    """The gates of a GRU are z, r, h in Keras and r, z, h in cuDNN."""
    return blocks if builtin == "lstm" else [blocks[1], blocks[0], blocks[2]]


def check_sizes(sizes: Sequence[SizeCheck], who: str) -> None:
    """See `base.Backend.check_sizes`; in a graph, sizes are known when it runs."""
    for check in sizes:
        axis = check.axis
        if None not in (check.tensor.shape[axis], check.reference.shape[axis]):
            continue
        tf.debugging.assert_equal(
            tf.shape(check.tensor)[axis],
            tf.shape(check.reference)[axis],
            message=f"{who}: {check.path} and the inputs disagree on {check.axis_name}.",
        )


def scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    *,
    emits: Structure,
    variables: Sequence[Any],
    compiling: Compiling | None = None,
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`."""
    if compiling is not None and not tf.executing_eagerly() and not under_xla():
        loop = CompiledLoop(step, carry, xs, emits, variables)
        obstacle = loop.trace(compiling.fixed, keeps=compiling.training)
        if obstacle is None:
            return loop.run()
        compiling.note(obstacle)
    return plain_scan(step, carry, xs, emits)
