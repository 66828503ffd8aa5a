"""A loop of TensorFlow with its own backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from kcells.cells.variables import current_value
from kcells.engine.backends.base import Settings
from kcells.engine.backends.tensorflow_plain import any_batch, grouped, sink_of, source_of
from kcells.engine.backends.tensorflow_products import products_ahead
from kcells.engine.backends.tensorflow_tapes import once, tied, unseen, without_gaps
from kcells.types import Step, Structure

__all__ = ["OwnLoop", "runs_outside_of_xla"]


class OwnLoop:
    """A loop with its own backward pass, compiled by XLA or not, whatever is around it.

    A gradient cannot cross the border of a compiled function where a while loop left its
    tensor lists. So the forward loop writes down every state, as plain tensors, and the
    backward loop goes through them from the end: it repeats a step from the state before it,
    differentiates that one step, and adds up the gradients of the weights.

    With checkpoints it writes down the state before each block of steps, and the backward
    loop runs a block once more to have the others.

    What XLA compiles, by itself (`xla`) or with what is around it, is kept from the tapes of the
    user (`hides`). Other programs TensorFlow can differentiate once more.

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
        settings: Settings,
        xla: bool,
        hides: bool,
    ) -> None:
        self._step, self._carry, self._xs, self._emits = step, carry, xs, emits
        self._settings, self._xla, self._hides = settings, xla, hides
        self._variables = [v for v in variables if v.trainable]
        self._others = [v for v in variables if not v.trainable]
        self._weights = [current_value(v) for v in self._variables]
        self._constants = [current_value(v) for v in self._others]
        self._touched = False
        self._flat_xs = tree.flatten(xs)
        self._length = tf.shape(self._flat_xs[0])[0]
        self._flat_carry = tree.flatten(carry)
        self._run_step: Callable[..., Any] = self._one

    def trace(self) -> str | None:
        """Traces both directions, and says what stands in the way; None if nothing does.

        All of it now: when a gradient is asked for, the masks of dropout are forgotten, and
        the scopes of Keras around the call are left.
        """
        self._take_products()
        if self._xla:
            self._flat_xs = _in_buckets(self._flat_xs)
        arguments = (self._length, self._flat_xs, self._flat_carry, self._weights, self._constants)
        program = self._with_states = self._traced(self._forward, *arguments)
        obstacle = self._obstacle(program.traced)
        if obstacle is not None:
            return obstacle
        ys, last, before = program.traced.structured_outputs
        upstream = [leaf for leaf in (*ys, *last) if _is_float(leaf)]
        self._backwards = self._traced(self._backward, *arguments, before, upstream)
        # Without a backward pass to come nothing is written down; if one comes after all,
        # the loop first runs again.
        keeps = self._keeps = self._settings.training
        self._at_once = program if keeps else self._traced(self._forward_only, *arguments)
        return None

    def _take_products(self) -> None:
        """Computes large products of the inputs alone before the loop, where asked to."""
        groups = (self._flat_carry, self._flat_xs, self._weights, self._constants)
        note = self._settings.ahead
        split = note and products_ahead(self._one, groups, self._settings.training, note)
        if split:
            self._flat_xs = [*self._flat_xs, *split.products]
            self._run_step = split.step

    def _traced(self, function: Any, *arguments: Any) -> _Program:
        """`function` for arguments like these, as a program of its own."""

        def flat(*leaves: Any) -> Any:
            return function(*tf.nest.pack_sequence_as(arguments, leaves))

        specs = [_spec(leaf) for leaf in tf.nest.flatten(arguments)]
        # None leaves it to what is around the program; False would forbid it.
        made = tf.function(flat, jit_compile=True if self._xla else None, autograph=False)
        return _Program(made.get_concrete_function(*specs))

    def _obstacle(self, traced: Any) -> str | None:
        if self._touched:
            return "a step updates variables"
        known = {id(tensor) for tensor in self._settings.fixed}
        for tensor in traced.captured_inputs:
            if tensor.dtype == tf.resource:
                return "a step reads a variable that the cell does not list"
            if not hasattr(tensor, "numpy") and id(tensor) not in known and _is_float(tensor):
                return "a step reaches for a tensor that is none of its arguments"
        foreign = runs_outside_of_xla(traced.graph)
        return f"XLA has no {foreign}" if foreign and self._xla else None

    def run(self) -> tuple[Structure, Structure]:
        """The last carry and all outputs, after `trace`."""
        groups = (self._flat_xs, self._flat_carry, self._weights)

        def call(*inputs: Any) -> Any:
            xs, carry, weights = grouped(inputs, groups)
            arguments = (self._length, xs, carry, weights, self._constants)
            ys, last, before = self._at_once(*arguments)
            results = (*ys, *last)

            def gradient(*upstream: Any) -> Any:
                pairs = zip(upstream, results, strict=True)
                wanted = [tf.convert_to_tensor(g) for g, leaf in pairs if _is_float(leaf)]

                def of_inputs(*wanted: Any) -> Any:
                    states = before if self._keeps else self._with_states(*arguments)[2]
                    return list(self._backwards(*arguments, states, list(wanted)))

                found = iter(once(of_inputs, wanted, inputs) if self._hides else of_inputs(*wanted))
                return tuple(next(found) if _is_float(leaf) else None for leaf in inputs)

            return results, gradient

        inputs = [leaf for group in groups for leaf in group]
        results = list(unseen(call, inputs) if self._hides else tf.custom_gradient(call)(*inputs))
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
        known = {id(variable) for variable, _ in mapping}
        self._touched |= bool(scope.state_mapping.keys() - known)
        for variable, value in mapping:
            self._touched |= scope.get_current_value(variable) is not value
        return tree.flatten(y), tree.flatten(carry)

    def _forward_only(self, length: Any, xs: Any, carry: Any, weights: Any, constants: Any) -> Any:
        return self._forward(length, xs, carry, weights, constants, keeps=False)

    def _forward(
        self, length: Any, xs: Any, carry: Any, weights: Any, constants: Any, keeps: bool = True
    ) -> Any:
        slots = tf.shape(xs[0])[0]
        block = self._block(slots)
        sources = [source_of(x, slots) for x in xs]
        places = (slots + block - 2) // block + 1
        kept = [_sink_like(leaf, places) for leaf in carry] if keeps else []
        sinks = [sink_of(spec, slots) for spec in tree.flatten(self._emits)]

        def body(t: Any, carry: Any, sinks: Any, kept: Any) -> Any:
            x = [source.read(t) for source in sources]
            y, new = self._run_step(carry, x, weights, constants)
            sinks = [sink.write(t, leaf) for sink, leaf in zip(sinks, y, strict=True)]
            # What is written last in a place is the state before the first step of a block.
            place = (t + block - 1) // block
            kept = [a.write(place, leaf) for a, leaf in zip(kept, carry, strict=False)]
            return t + 1, new, sinks, kept

        _, last, sinks, kept = _loop(
            lambda t, *_: t < length, body, tf.constant(0), carry, sinks, kept
        )
        return [sink.stack() for sink in sinks], list(last), [a.stack() for a in kept]

    def _block(self, slots: Any) -> Any:
        """How many steps a block has, from one state that is written down to the next."""
        asked = self._settings.checkpoint
        if asked is True:
            return tf.cast(tf.math.ceil(tf.sqrt(tf.cast(slots, tf.float32))), tf.int32)
        return tf.minimum(slots, int(asked)) if asked else tf.constant(1)

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
        upstream = tied(upstream)
        slots = tf.shape(xs[0])[0]
        block = self._block(slots)
        sources = [source_of(x, slots) for x in xs]
        starts = [source_of(state, tf.shape(state)[0]) for state in before]
        count = sum(_is_float(spec) for spec in tree.flatten(self._emits))
        of_outputs = [source_of(g, slots) for g in upstream[:count]]
        into_xs = [_sink_like(x[0], slots) for x in xs if _is_float(x)]

        def one_back(t: Any, state: Any, of_carry: Any, of_weights: Any, into_xs: Any) -> Any:
            x = [source.read(t) for source in sources]
            leaves = tf.nest.map_structure(tf.identity, [x, list(state), list(weights)])
            sought = [[leaf for leaf in group if _is_float(leaf)] for group in leaves]
            y, new = self._run_step(leaves[1], leaves[0], leaves[2], constants)
            # Not by a tape, which sees nothing of a step that was taken apart.
            flat = tf.gradients(
                [leaf for leaf in (*y, *new) if _is_float(leaf)],
                tf.nest.flatten(sought),
                [*(g.read(t) for g in of_outputs), *of_carry],
            )
            found = grouped(flat, sought)
            found = without_gaps(found, [sought[0], of_carry, sought[2]])
            into_xs = [a.write(t, g) for a, g in zip(into_xs, found[0], strict=True)]
            of_weights = [a + b for a, b in zip(of_weights, found[2], strict=True)]
            return t - 1, found[1], of_weights, into_xs

        def step_back(t: Any, *gradients: Any) -> Any:
            return one_back(t, [a.read(t) for a in starts], *gradients)

        def block_back(t: Any, *gradients: Any) -> Any:
            first = t - t % block
            states = self._states_of_block(first, t, block, starts, sources, weights, constants)
            return _loop(
                lambda t, *_: t >= first,
                lambda t, *now: one_back(t, [a.read(t - first) for a in states], *now),
                t,
                *gradients,
            )

        none_yet = [tf.zeros_like(weight) for weight in weights]
        _, of_carry, of_weights, into_xs = _loop(
            lambda t, *_: t >= 0,
            block_back if self._settings.checkpoint else step_back,
            length - 1,
            upstream[count:],
            none_yet,
            into_xs,
        )
        return [*(a.stack() for a in into_xs), *of_carry, *of_weights]

    def _states_of_block(
        self,
        first: Any,
        last: Any,
        block: Any,
        starts: Sequence[tf.TensorArray],
        sources: Sequence[tf.TensorArray],
        weights: Any,
        constants: Any,
    ) -> list[tf.TensorArray]:
        """The states before the steps from `first` to `last`, computed once more."""
        state = [a.read(first // block) for a in starts]
        kept = [_sink_like(leaf, block) for leaf in state]

        def body(t: Any, state: Any, kept: Any) -> Any:
            kept = [a.write(t - first, leaf) for a, leaf in zip(kept, state, strict=True)]
            x = [source.read(t) for source in sources]
            return t + 1, self._run_step(state, x, weights, constants)[1], kept

        _, state, kept = _loop(lambda t, *_: t < last, body, first, state, kept)
        return [a.write(last - first, leaf) for a, leaf in zip(kept, state, strict=True)]


_NEVER_COMPILED = ("EagerPyFunc", "PyFunc", "PrintV2", "StringFormat")
"""Operations that users may well have in a cell and that run outside of XLA."""


def _loop(condition: Any, body: Any, *first: Any) -> Any:
    invariants = [
        [
            tf.TensorShape(None) if isinstance(v, tf.TensorArray) else any_batch(v.shape)
            for v in group
        ]
        if isinstance(group, (list, tuple))
        else group.shape
        for group in first
    ]
    return tf.while_loop(condition, body, list(first), shape_invariants=invariants)


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


def runs_outside_of_xla(graph: Any) -> str | None:
    """An operation of a function that XLA cannot compile; None if it knows all."""
    # The whole definition holds the functions that this one calls, loops among them.
    definition = graph.as_graph_def().SerializeToString()
    return next((name for name in _NEVER_COMPILED if name.encode() in definition), None)


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
