"""TensorFlow: products of a step's inputs with weights, found in its graph and computed before
the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kcells.engine.backends.tensorflow_plain import grouped
from kcells.engine.products import USUAL_BATCH, InputProduct, are_possible, pays

__all__ = ["Split", "products_ahead"]

_PRODUCTS = ("MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")

Step = Callable[[Any, Any, Any, Any], Any]
"""From a carry, inputs of one step, weights and constants, all flat, to outputs and a new carry."""


class Split(NamedTuple):
    """A loop whose large products of inputs alone are sequences like any other.

    A call of a function would be simpler, and is no way for a step: XLA then takes weights for
    constants of the program that goes back, and compiles it at every call.

    Attributes:
        products: of all steps, `(time, batch, ...)`.
        step: takes them, one step of each, after the inputs.
    """

    products: list[Any]
    step: Step


def products_ahead(
    step: Step,
    groups: Sequence[Sequence[Any]],
    training: bool,
    note: Callable[[Sequence[InputProduct]], None],
) -> Split | None:
    """Splits a step, if some product of its inputs pays.

    Args:
        step: the step.
        groups: flat lists of its first carry, of the sequences `(time, batch, ...)`, of the
            weights and of the constants.
        training: whether a backward pass is to come.
        note: is told which products are computed before the loop.
    """
    carry, xs, weights, constants = groups
    if not are_possible([x.shape[1:] for x in xs], training):
        note([])
        return None
    traced = _Traced(step, carry, xs, weights, constants)
    found = traced.products(training)
    note([product for _, product in found])
    products = [tensor for tensor, _ in found]
    if not products:
        return None
    return Split(traced.ahead(products), traced.after(products))


class _Traced:
    """The graph of a step, of which parts can be run."""

    def __init__(self, step: Step, carry: Any, xs: Any, weights: Any, constants: Any) -> None:
        self._groups = groups = [list(carry), list(xs), list(weights), list(constants)]
        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in [*weights, *constants]]
        states = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in carry]
        inputs = [tf.TensorSpec(leaf.shape[1:], leaf.dtype) for leaf in xs]

        def flat(*leaves: Any) -> Any:
            y, new = step(*grouped(leaves, groups))
            self._counts = (len(y), len(new))
            return [*y, *new]

        made = tf.function(flat, autograph=False)
        self._program = made.get_concrete_function(*states, *inputs, *specs)
        self._graph = self._program.graph
        arguments = self._graph.inputs
        self._known = grouped(arguments, groups)
        self._captures = list(
            zip(arguments[sum(map(len, groups)) :], self._program.captured_inputs, strict=True)
        )

    def products(self, training: bool) -> list[tuple[Any, InputProduct]]:
        """The products of inputs alone, with what is the same at every step, that pay."""
        _, xs, weights, constants = self._known
        same = {t.ref() for t in [*weights, *constants, *(inside for inside, _ in self._captures)]}
        of_inputs, chosen = {x.ref() for x in xs}, []
        for op in self._graph.get_operations():
            given = {tensor.ref() for tensor in op.inputs}
            if not _is_plain(op) or not given <= same | of_inputs:
                continue
            into = same if given <= same else of_inputs
            into.update(tensor.ref() for tensor in op.outputs)
            if op.type not in _PRODUCTS or into is same or not given & same:
                continue
            numbers = next(t.shape.num_elements() for t in op.inputs if t.ref() in same)
            sizes = [USUAL_BATCH if size is None else size for size in op.outputs[0].shape]
            product = InputProduct(numbers or 0, math.prod(sizes))
            if pays(product, training):
                chosen.append((op.outputs[0], product))
        return chosen

    def ahead(self, products: list[Any]) -> list[Any]:
        """The products of all steps."""
        _, xs, weights, constants = self._groups
        _, inside, *others = self._known
        part = self._part(self._known[1:], products)
        groups = [xs, weights, constants]

        def of_all(*leaves: Any) -> Any:
            sequences, *same = grouped(leaves, groups)
            known = [pair for both in zip(others, same, strict=True) for pair in _pairs(*both)]

            def of_one(x: Any) -> Any:
                return _run(part, [*known, *_pairs(inside, x), *self._captures], products)

            return tf.vectorized_map(of_one, sequences)

        return list(_called(of_all, [leaf for group in groups for leaf in group]))

    def _part(self, known: Sequence[Sequence[Any]], results: Sequence[Any]) -> Any:
        """The nodes that lead from some tensors to others, without those of the former."""
        definition = self._graph.as_graph_def()
        nodes = {node.name: node for node in definition.node}
        given = {tensor.op.name for group in known for tensor in group}
        given |= {inside.op.name for inside, _ in self._captures}
        wanted: set[str] = set()
        waiting = [tensor.op.name for tensor in results]
        while waiting:
            name = waiting.pop()
            if name not in wanted | given:
                wanted.add(name)
                # "name", "name:1" or, where it has to run before, "^name".
                waiting += [known.lstrip("^").partition(":")[0] for known in nodes[name].input]
        part = tf.compat.v1.GraphDef()
        part.CopyFrom(definition)  # With the functions that nodes call.
        part.ClearField("node")
        part.node.extend(node for node in definition.node if node.name in wanted)
        for node in part.node:
            # What is given was there before.
            node.input[:] = [x for x in node.input if x[0] != "^" or x[1:] not in given]
        return part

    def after(self, products: list[Any]) -> Step:
        """The step, which takes the products as inputs."""
        carry, xs, weights, constants = self._known
        results = self._graph.outputs
        inside = [*carry, *xs, *products, *weights, *constants]
        part = self._part([inside], results)

        def after(carry: Any, x: Any, weights: Any, constants: Any) -> Any:
            given = _pairs(inside, [*carry, *x, *weights, *constants])
            found = _run(part, [*given, *self._captures], results)
            for leaf, known in zip(found, results, strict=True):
                leaf.set_shape(known.shape)  # What Python has set is not in the graph.
            return found[: self._counts[0]], found[self._counts[0] :]

        return after


def _is_plain(op: Any) -> bool:
    """Whether an operation does the same for all steps at once.

    A gradient of its own, here or in a function that it calls, would be lost there.
    """
    if op.type == "Placeholder" or op.op_def.is_stateful or op.control_inputs:
        return False
    attributes = op.node_def.attr
    return "_gradient_op_type" not in attributes and not any(
        value.HasField("func") or value.list.func for value in attributes.values()
    )


def _called(function: Callable[..., Any], leaves: Sequence[Any]) -> Any:
    """`function(*leaves)` as a call in the graph: a tape sees no operations that were imported."""
    specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves]
    return tf.function(function, autograph=False).get_concrete_function(*specs)(*leaves)


def _run(part: Any, known: Sequence[tuple[Any, Any]], results: Sequence[Any]) -> list[Any]:
    """What the nodes of a graph give, with tensors in the place of some of its own."""
    names = [tensor.name for tensor in results]
    used = {source for node in part.node for source in node.input}
    # An operation takes what is outside of its graph into it; an import does not.
    given = {
        inside.name: tf.identity(value)
        for inside, value in known
        if {inside.op.name, inside.name} & used or inside.name in names
    }
    # A result may be an argument, of which nothing is imported.
    free = [name for name in names if name not in given]
    found = tf.graph_util.import_graph_def(part, input_map=given, return_elements=free)
    by_name = dict(zip(free, found, strict=True)) | given
    return [by_name[name] for name in names]


def _pairs(inside: Sequence[Any], values: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(inside, values, strict=True))
