"""TensorFlow: the loop is `tf.while_loop` over tensor arrays; an NVIDIA GPU has cuDNN."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops, tree

from kcells._keras_private import exported_format
from kcells.cells.equivalence import BuiltinName
from kcells.cells.linear import Product, multiply
from kcells.cells.variables import current_value
from kcells.engine.backends.base import DEFAULTS, Settings, SizeCheck, Weights
from kcells.engine.backends.tensorflow_in_place import scan_in_place
from kcells.engine.backends.tensorflow_operators import as_operator
from kcells.engine.backends.tensorflow_own_loop import OwnLoop, runs_outside_of_xla
from kcells.engine.backends.tensorflow_plain import plain_scan
from kcells.engine.backends.tensorflow_tapes import once, unseen
from kcells.types import Step, Structure

__all__ = [
    "as_long_as",
    "as_one",
    "checked",
    "device",
    "fused",
    "has_numbers",
    "linear_scan",
    "made_dense",
    "scan",
    "steps_at",
    "transformed",
    "under_xla",
    "writes",
]


def device(tensor: Any = None) -> str:
    """See `base.Backend.device`: a graph is placed only when it runs, so what is there
    decides."""
    is_cuda = bool(tf.sysconfig.get_build_info().get("is_cuda_build"))
    return "gpu" if is_cuda and tf.config.list_logical_devices("GPU") else "cpu"


def steps_at(sequence: Any, index: Any) -> Any:
    """See `base.Backend.steps_at`."""
    return ops.take_along_axis(sequence, index, axis=0)


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


def transformed(tensors: Iterable[Any]) -> bool:
    """See `base.Backend.transformed`; TensorFlow has no transforms."""
    return False


def has_numbers(tensor: Any) -> bool:
    """See `base.Backend.has_numbers`."""
    return True


def writes() -> str:
    """See `base.Backend.writes`; SavedModels hold what TensorFlow has."""
    found = "" if tf.executing_eagerly() else exported_format()
    return found if found in ("onnx", "litert") else ""


def fused(
    builtin: BuiltinName,
    inputs: Any,
    states: Sequence[Sequence[Any]],
    weights: Sequence[Weights],
) -> tuple[list[Any], list[list[Any]]]:
    """See `base.Backend.fused`; one direction, which is what TensorFlow offers."""
    ((own,), (initial,)) = weights, states
    if writes() == "onnx":
        whole, final = as_operator(builtin, inputs, initial, own)
        return [whole], [final]
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


def as_long_as(tensor: Any, like: Any) -> Any:
    """See `base.Backend.as_long_as`; an unknown size is as good as any other."""
    return tensor


def checked(tensors: Structure, sizes: Sequence[SizeCheck], who: str) -> Structure:
    """See `base.Backend.checked`; in a graph, sizes are known when it runs."""
    checks = [
        tf.debugging.assert_equal(
            tf.shape(check.tensor)[check.axis],
            tf.shape(check.reference)[check.axis],
            message=f"{who}: {check.path} and the inputs disagree on {check.axis_name}.",
        )
        for check in sizes
        if None in (check.tensor.shape[check.axis], check.reference.shape[check.axis])
    ]
    if not checks:
        return tensors
    # Or the computation would run at the same time, and fail first with words of its own.
    with tf.control_dependencies(checks):
        return tree.map_structure(lambda x: None if x is None else tf.identity(x), tensors)


def made_dense(leaf: Any) -> str | None:
    """See `base.Backend.made_dense`."""
    if isinstance(leaf, tf.RaggedTensor):
        return "layer(x.to_tensor(), lengths=x.row_lengths())"
    return "tf.sparse.to_dense(x)" if isinstance(leaf, tf.SparseTensor) else None


def scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    *,
    emits: Structure,
    variables: Sequence[Any],
    settings: Settings = DEFAULTS,
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`."""
    if settings.project is not None:
        xs = settings.project(xs)
    file = writes()
    if file == "litert":
        return scan_in_place(step, carry, xs, emits)
    for xla in [] if file else _own_ways(settings):
        hides = xla or under_xla()
        loop = OwnLoop(step, carry, xs, emits, variables, settings, xla, hides)
        obstacle = loop.trace()
        settings.note(obstacle or "")
        if obstacle is None:
            return loop.run()
    return plain_scan(step, carry, xs, emits, in_file=bool(file))


def _own_ways(settings: Settings) -> list[bool]:
    """Whether to compile a loop with its own backward pass: the ways to try, best first."""
    if tf.executing_eagerly():
        return []
    if under_xla():
        # It is compiled with the rest. The backward pass is faster than the one that
        # TensorFlow would derive, which keeps every number of every step.
        return [False] if settings.own_backward or settings.checkpoint else []
    compiled = [True] if settings.compiles else []
    return [*compiled, False] if settings.checkpoint else compiled


def as_one(
    function: Callable[[Structure], Structure],
    given: Structure,
    variables: Sequence[Any],
    settings: Settings,
) -> Structure:
    """See `base.Backend.as_one`.

    For inference alone: TensorFlow's own products are the faster ones where gradients are
    wanted. And not for an unknown length, with which it would compile again and again.
    """
    flat = tree.flatten(given)
    # Where Keras casts variables, it does so during the call alone, and a gradient comes later.
    casts = any(leaf.dtype.is_floating and leaf.dtype.size < 4 for leaf in flat)
    asked = settings.compiles and not settings.training and not casts
    if not asked or tf.executing_eagerly() or under_xla() or flat[0].shape[0] is None:
        return function(given)

    def of_leaves(*leaves: Any) -> Any:
        mapping = zip(variables, leaves[len(flat) :], strict=True)
        with keras.StatelessScope(list(mapping)):
            return function(tree.pack_sequence_as(given, list(leaves[: len(flat)])))

    inputs = [*flat, *(tf.convert_to_tensor(current_value(v)) for v in variables)]
    program = tf.function(of_leaves, jit_compile=True, autograph=False).get_concrete_function(
        *(tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in inputs)
    )
    if runs_outside_of_xla(program.graph):
        return function(given)

    def call(*inputs: Any) -> Any:
        results = tree.flatten(program(*inputs))

        def gradient(*upstream: Any) -> Any:
            here = list(map(tf.identity, inputs))
            floats = [leaf for leaf in here if leaf.dtype.is_floating]

            def of_inputs(*upstream: Any) -> Any:
                # Not by a tape: it sees nothing while forward mode asks.
                again = tree.flatten(of_leaves(*here))
                zero = tf.UnconnectedGradients.ZERO
                return tf.gradients(again, floats, list(upstream), unconnected_gradients=zero)

            found = iter(once(of_inputs, upstream, inputs))
            return tuple(next(found) if leaf.dtype.is_floating else None for leaf in inputs)

        return results, gradient

    return tree.pack_sequence_as(program.structured_outputs, list(unseen(call, inputs)))


def linear_scan(a: Any, b: Any, first: Any, product: Product, settings: Settings = DEFAULTS) -> Any:
    """See `base.Backend.linear_scan`.

    A loop over this one operation is the fastest on a CPU, if it is compiled, and the only
    way where the length is not known. Otherwise few operations on many numbers are.
    """
    compiled = under_xla() or (settings.compiles and not tf.executing_eagerly())
    if a.shape[0] is None or (compiled and device() == "cpu"):
        spec = keras.KerasTensor((None, *first.shape[1:]), dtype=first.dtype)

        def one_step(h: Any, coefficients: Any) -> Any:
            a, b = coefficients
            h = multiply(product, a, h) + b
            return h, h

        _, h = scan(one_step, first, (a, b), emits=spec, variables=[], settings=settings)
        return h

    def both_steps(one: Any, two: Any) -> Any:
        """The coefficients of two stretches of steps, one after the other."""
        return multiply(product, one[0], two[0]), multiply(product, two[0], one[1]) + two[1]

    # The first step has no coefficient for what was before it.
    start = multiply(product, a[0], first)
    b = tf.concat([(b[0] + start)[tf.newaxis], b[1:]], axis=0)
    return _running(both_steps, (a, b))[1]


def _running(both: Any, pairs: tuple[Any, Any]) -> tuple[Any, Any]:
    """`both` of all entries up to each one, of a known number of entries.

    Pairs of neighbours become one, what comes out is run over in the same way, and the
    entries in between follow. Keras has this too; in Keras 3.12 it never ends in a graph.
    """
    count = pairs[0].shape[0]
    if count == 1:
        return pairs

    def some(entries: slice) -> tuple[Any, Any]:
        return pairs[0][entries], pairs[1][entries]

    odd = _running(both, both(some(slice(0, count - 1, 2)), some(slice(1, None, 2))))
    before = (count - 1) // 2
    later = both((odd[0][:before], odd[1][:before]), some(slice(2, None, 2)))
    first, second = (
        _interleaved(tf.concat([pair[:1], rest], axis=0), other)
        for pair, rest, other in zip(pairs, later, odd, strict=True)
    )
    return first, second


def _interleaved(even: Any, odd: Any) -> Any:
    """One of `even`, one of `odd` and so on; there may be one more of `even`."""
    count = odd.shape[0]
    both = tf.stack([even[:count], odd], axis=1)
    both = tf.reshape(both, tf.concat([[2 * count], tf.shape(odd)[1:]], axis=0))
    both.set_shape((2 * count, *odd.shape[1:]))
    return tf.concat([both, even[count:]], axis=0)
