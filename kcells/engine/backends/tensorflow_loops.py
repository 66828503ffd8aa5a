"""The loops of TensorFlow: one for any graph, one that XLA compiles by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops, tree

from kcells.types import Step, Structure

__all__ = ["CompiledLoop", "plain_scan"]


class CompiledLoop:
    """A loop that XLA compiles by itself, whatever is around it, with its own backward pass.

    A gradient cannot cross the border of a compiled function where a while loop left its
    tensor lists. So the forward loop writes down every state, as plain tensors, and the
    backward loop goes through them from the end: it repeats a step from the state before it,
    differentiates that one step, and adds up the gradients of the weights.

    Whatever a gradient may reach has to be an argument: states, inputs and weights are.
    `trace` finds out what else a step reaches for.
    """

    def __init__(
        self,
        step: Step,
        carry: Structure,
        xs: Structure,
        emits: Structure,
        variables: Sequence[Any],
    ) -> None:
        self._step, self._carry, self._xs, self._emits = step, carry, xs, emits
        self._variables = [v for v in variables if v.trainable]
        self._others = [v for v in variables if not v.trainable]
        self._weights = [_value(v) for v in self._variables]
        self._constants = [_value(v) for v in self._others]
        self._touched = False
        self._length = tf.shape(tree.flatten(xs)[0])[0]
        self._flat_xs = _in_buckets(tree.flatten(xs))
        self._flat_carry = tree.flatten(carry)

    def trace(self, fixed: Sequence[Any], keeps: bool) -> str | None:
        """Traces both directions, and says what stands in the way; None if nothing does.

        All of it now: when a gradient is asked for, the masks of dropout are forgotten, and
        the scopes of Keras around the call are left.

        Args:
            fixed: tensors that a step may reach for, and that need no gradient.
            keeps: whether to write down the states at once, since a backward pass is to come;
                without, the loop first runs again.
        """
        arguments = (self._length, self._flat_xs, self._flat_carry, self._weights, self._constants)
        program = self._with_states = _compiled(self._forward, *arguments)
        if self._touched:
            return "a step updates variables"
        known = {id(tensor) for tensor in fixed}
        for tensor in program.traced.captured_inputs:
            if tensor.dtype == tf.resource:
                return "a step reads a variable that the cell does not list"
            if not hasattr(tensor, "numpy") and id(tensor) not in known and _is_float(tensor):
                return "a step reaches for a tensor that is none of its arguments"
        foreign = {op.type for op in _operations(program.traced.graph)} & _NEVER_COMPILED
        if foreign:
            return f"XLA has no {sorted(foreign)[0]}"
        ys, last, before = program.traced.structured_outputs
        upstream = [leaf for leaf in (*ys, *last) if _is_float(leaf)]
        self._backwards = _compiled(self._backward, *arguments, before, upstream)
        self._at_once = program if keeps else _compiled(self._forward_only, *arguments)
        self._keeps = keeps
        return None

    def run(self) -> tuple[Structure, Structure]:
        """The last carry and all outputs, after `trace`."""
        groups = (self._flat_xs, self._flat_carry, self._weights)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def call(*inputs: Any) -> Any:
            xs, carry, weights = _grouped(inputs, groups)
            arguments = (self._length, xs, carry, weights, self._constants)
            ys, last, before = self._at_once(*arguments)
            results = (*ys, *last)

            def gradient(*upstream: Any) -> Any:
                states = before if self._keeps else self._with_states(*arguments)[2]
                pairs = zip(upstream, results, strict=True)
                wanted = [tf.convert_to_tensor(g) for g, leaf in pairs if _is_float(leaf)]
                found = iter(self._backwards(*arguments, states, wanted))
                return tuple(next(found) if _is_float(leaf) else None for leaf in inputs)

            return results, gradient

        results = list(call(*(leaf for group in groups for leaf in group)))
        specs = tree.flatten(self._emits)
        ys = [self._of_known_length(y, spec) for y, spec in zip(results, specs, strict=False)]
        last = results[len(specs) :]
        return tree.pack_sequence_as(self._carry, last), tree.pack_sequence_as(self._emits, ys)

    def _of_known_length(self, y: Any, spec: Any) -> Any:
        length = tree.flatten(self._xs)[0].shape[0]
        if length is None:
            y = y[: self._length]
        y.set_shape((length, *spec.shape))
        return y

    def _one(self, flat_carry: Any, flat_x: Any, weights: Any, constants: Any) -> Any:
        """One step with these values for the variables: flat outputs, flat new carry."""
        mapping = [
            *zip(self._variables, weights, strict=True),
            *zip(self._others, constants, strict=True),
        ]
        with keras.StatelessScope(mapping) as scope:
            carry, y = self._step(
                tree.pack_sequence_as(self._carry, list(flat_carry)),
                tree.pack_sequence_as(self._xs, list(flat_x)),
            )
        for variable, value in mapping:
            self._touched |= scope.get_current_value(variable) is not value
        return tree.flatten(y), tree.flatten(carry)

    def _forward_only(self, length: Any, xs: Any, carry: Any, weights: Any, constants: Any) -> Any:
        return self._forward(length, xs, carry, weights, constants, keeps=False)

    def _forward(
        self, length: Any, xs: Any, carry: Any, weights: Any, constants: Any, keeps: bool = True
    ) -> Any:
        slots = tf.shape(xs[0])[0]
        sources = [_source(x, slots) for x in xs]
        kept = [_sink_like(leaf, slots) for leaf in carry] if keeps else []
        sinks = [_sink(spec, slots) for spec in tree.flatten(self._emits)]

        def body(t: Any, carry: Any, sinks: Any, kept: Any) -> Any:
            x = [source.read(t) for source in sources]
            y, new = self._one(carry, x, weights, constants)
            sinks = [sink.write(t, leaf) for sink, leaf in zip(sinks, y, strict=True)]
            kept = [a.write(t, leaf) for a, leaf in zip(kept, carry, strict=False)]
            return t + 1, new, sinks, kept

        _, last, sinks, kept = _loop(
            lambda t, *_: t < length, body, tf.constant(0), carry, sinks, kept
        )
        return [sink.stack() for sink in sinks], list(last), [a.stack() for a in kept]

    def _backward(
        self,
        length: Any,
        xs: Any,
        carry: Any,
        weights: Any,
        constants: Any,
        before: Any,
        upstream: Any,
    ) -> Any:
        slots = tf.shape(xs[0])[0]
        sources, states = ([_source(x, slots) for x in group] for group in (xs, before))
        count = sum(_is_float(spec) for spec in tree.flatten(self._emits))
        of_outputs = [_source(g, slots) for g in upstream[:count]]
        into_xs = [_sink_like(x[0], slots) for x in xs if _is_float(x)]

        def body(t: Any, of_carry: Any, of_weights: Any, into_xs: Any) -> Any:
            x = [source.read(t) for source in sources]
            state = [a.read(t) for a in states]
            sought = [[leaf for leaf in group if _is_float(leaf)] for group in (x, state, weights)]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(sought)
                y, new = self._one(state, x, weights, constants)
            found = tape.gradient(
                [leaf for leaf in (*y, *new) if _is_float(leaf)],
                sought,
                output_gradients=[*(g.read(t) for g in of_outputs), *of_carry],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            found = tf.nest.map_structure(tf.convert_to_tensor, found)
            into_xs = [a.write(t, g) for a, g in zip(into_xs, found[0], strict=True)]
            of_weights = [a + b for a, b in zip(of_weights, found[2], strict=True)]
            return t - 1, found[1], of_weights, into_xs

        none_yet = [tf.zeros_like(weight) for weight in weights]
        _, of_carry, of_weights, into_xs = _loop(
            lambda t, *_: t >= 0, body, length - 1, upstream[count:], none_yet, into_xs
        )
        return [*(a.stack() for a in into_xs), *of_carry, *of_weights]


_NEVER_COMPILED = {"EagerPyFunc", "PyFunc", "PyFuncStateless", "PrintV2", "StringFormat"}
"""Operations that users may well have in a cell and that run outside of XLA."""


def _loop(condition: Any, body: Any, *first: Any) -> Any:
    invariants = [
        [
            tf.TensorShape(None) if isinstance(v, tf.TensorArray) else _any_batch(v.shape)
            for v in group
        ]
        if isinstance(group, (list, tuple))
        else group.shape
        for group in first
    ]
    return tf.while_loop(condition, body, list(first), shape_invariants=invariants)


def _invariant(leaf: Any) -> tf.TensorShape:
    # A tensor array has no shape that could change.
    is_array = isinstance(leaf, tf.TensorArray)
    return tf.TensorShape(None) if is_array else _any_batch(leaf.shape)


def _grouped(flat: Sequence[Any], groups: Sequence[Sequence[Any]]) -> list[list[Any]]:
    rest = iter(flat)
    return [[next(rest) for _ in group] for group in groups]


def _compiled(function: Any, *arguments: Any) -> Any:
    """`function` for arguments like these, as one program of XLA."""

    def flat(*leaves: Any) -> Any:
        return function(*tf.nest.pack_sequence_as(arguments, leaves))

    specs = [_spec(leaf) for leaf in tf.nest.flatten(arguments)]
    traced = tf.function(flat, jit_compile=True, autograph=False).get_concrete_function(*specs)
    return _Program(traced)


class _Program:
    """A traced function that takes structures."""

    def __init__(self, traced: Any) -> None:
        self.traced = traced

    def __call__(self, *arguments: Any) -> Any:
        return self.traced(*tf.nest.flatten(arguments))


def _spec(leaf: Any) -> tf.TensorSpec:
    return tf.TensorSpec(leaf.shape, leaf.dtype)


def _is_float(tensor: Any) -> bool:
    return bool(tf.as_dtype(tensor.dtype).is_floating)


def _value(variable: Any) -> Any:
    # Through Keras, so that a value mapped by an outer stateless scope is seen.
    return ops.cast(ops.convert_to_tensor(variable), variable.dtype)


def _operations(graph: Any) -> Iterator[Any]:
    """The operations of a function and of all functions that it calls."""
    yield from graph.get_operations()
    for definition in graph.as_graph_def(add_shapes=False).library.function:
        for node in definition.node_def:
            yield _Operation(node.op)


class _Operation(NamedTuple):
    type: str


def _in_buckets(flat_xs: list[Any]) -> list[Any]:
    """Sequences of unknown length, filled up to a power of two.

    XLA compiles anew for every shape. So 30 different lengths are five or six programs;
    the loop still stops after the steps that there are.
    """
    if flat_xs[0].shape[0] is not None:
        return flat_xs
    length = tf.shape(flat_xs[0])[0]
    buckets = tf.constant([2**k for k in range(4, 31)])
    bucket = tf.reduce_min(tf.boolean_mask(buckets, buckets >= length))
    padded = []
    for x in flat_xs:
        after = [[0, bucket - length], *([[0, 0]] * (len(x.shape) - 1))]
        filled = tf.pad(x, after)
        filled.set_shape((None, *x.shape[1:]))
        padded.append(filled)
    return padded


def _sink_like(leaf: Any, slots: Any) -> tf.TensorArray:
    return tf.TensorArray(leaf.dtype, size=slots, element_shape=leaf.shape)


def plain_scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    emits: Structure,
) -> tuple[Structure, Structure]:
    """`tf.while_loop` over tensor arrays; see `base.Backend.scan`."""
    flat_xs = tree.flatten(xs)
    length = flat_xs[0].shape[0]
    known = length is not None
    if not known:
        length = tf.shape(flat_xs[0])[0]
    sources = [_source(x, length) for x in flat_xs]
    sinks = tuple(_sink(spec, length) for spec in tree.flatten(emits))

    def body(time: Any, flat_carry: Any, sinks: Any) -> Any:
        x = tree.pack_sequence_as(xs, [source.read(time) for source in sources])
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
            tuple(_any_batch(leaf.shape) for leaf in flat_carry),
            tuple(tf.TensorShape(None) for _ in sinks),
        ),
        maximum_iterations=length,
    )
    ys = [
        _stacked(sink, spec, length, known, flat_xs[0])
        for sink, spec in zip(sinks, tree.flatten(emits), strict=True)
    ]
    return tree.pack_sequence_as(carry, list(flat_carry)), tree.pack_sequence_as(emits, ys)


def _source(x: Any, length: Any) -> tf.TensorArray:
    return tf.TensorArray(x.dtype, size=length, element_shape=x.shape[1:]).unstack(x)


def _sink(spec: Any, length: Any) -> tf.TensorArray:
    return tf.TensorArray(spec.dtype, size=length, element_shape=spec.shape)


def _any_batch(shape: tf.TensorShape) -> tf.TensorShape:
    # Part of the carry may know its batch size where the rest does not.
    return tf.TensorShape([None, *shape[1:]]) if shape.rank else shape


def _stacked(sink: Any, spec: Any, length: Any, known: bool, x: Any) -> Any:
    if known:
        return sink.stack()
    # A tensor array without an element cannot tell its batch size.
    empty = (0, tf.shape(x)[1], *spec.shape[1:])
    return tf.cond(length > 0, sink.stack, lambda: tf.zeros(empty, spec.dtype))
