"""PyTorch: products of a step's inputs with weights, found in its graph and computed before the
loop, where that is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, GraphModule, Interpreter, Node

from kcells.engine.backends.torch_step import Given
from kcells.engine.products import InputProduct, are_possible, pays

__all__ = ["Split", "products_ahead"]

_PRODUCTS = tuple(
    getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "mv")
)


class Split(NamedTuple):
    """A step whose large products of inputs alone are inputs like any other.

    Attributes:
        ahead: from the leaves of `xs`, `learned` and `others` in a row to the products of one step.
        after: takes the products after the other `xs`.
        products: their sizes.
    """

    ahead: GraphModule
    after: GraphModule
    products: Sequence[InputProduct]

    def of_all_steps(self, given: Given) -> Given:
        """What goes into a loop, with the products of all steps."""
        same = [*given.learned, *given.others]
        dims = (*(0 for _ in given.xs), *(None for _ in same))
        products = torch.func.vmap(self.ahead, in_dims=dims)(*given.xs, *same)
        return given._replace(xs=[*given.xs, *products])


def products_ahead(one: GraphModule, first: Given, training: bool) -> Split | None:
    """Splits a step, if some product of its inputs pays.

    Args:
        one: the step.
        first: what it takes.
        training: whether a backward pass is to come.
    """
    if not are_possible([x.shape for x in first.xs], training):
        return None
    places = [node for node in one.graph.nodes if node.op == "placeholder"]
    carry, xs, same = _in_three(places, first)
    found = _products(one, first, xs, same, training)
    chosen = [node for node, _ in found]
    if not chosen:
        return None
    ahead = _part(one, [*xs, *same], chosen)
    results = one.graph.output_node().args[0]
    changes = [node for node in one.graph.nodes if _changes(node)]
    after = _part(one, [*carry, *xs, *chosen, *same], results, changes)
    return Split(ahead, after, [product for _, product in found])


def _in_three(places: list[Node], first: Given) -> tuple[list[Node], list[Node], list[Node]]:
    carry, stop = len(first.carry), len(first.carry) + len(first.xs)
    return places[:carry], places[carry:stop], places[stop:]


class _Numbers(Interpreter):
    """Runs a graph, and counts the numbers of each tensor."""

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        n.meta["numbers"] = result.numel() if isinstance(result, torch.Tensor) else 0
        return result


def _products(
    one: GraphModule,
    first: Given,
    xs: Sequence[Node],
    same: Sequence[Node],
    training: bool,
) -> list[tuple[Node, InputProduct]]:
    """The products of inputs alone, with what is the same at every step, that pay."""
    with torch.no_grad():
        _Numbers(one).run(*first.flat)
    fixed, of_inputs, chosen = set(same), set(xs), []
    for node in one.graph.nodes:
        if node.op == "get_attr":
            fixed.add(node)
        given = set(node.all_input_nodes)
        if _changes(node):
            if _is_seen_elsewhere(node.args[0]):
                # What is left may see the change, and a product before the loop would not.
                break
            continue
        if node.op != "call_function" or not given <= fixed | of_inputs:
            continue
        into = fixed if given <= fixed else of_inputs
        into.add(node)
        weights = max((other.meta["numbers"] for other in given & fixed), default=0)
        if node.target in _PRODUCTS and into is of_inputs:
            product = InputProduct(weights, node.meta["numbers"])
            if pays(product, training):
                chosen.append((node, product))
    return chosen


def _part(
    one: GraphModule, inputs: Sequence[Node], results: Sequence[Any], more: Sequence[Node] = ()
) -> GraphModule:
    """What of a graph leads from some of its nodes to others.

    Args:
        one: the graph.
        inputs: the nodes that are given.
        results: the nodes that are wanted.
        more: what else is done: a change in place counts though nothing may take its result.
    """
    wanted, waiting = set(), [*results, *more]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting += [] if node in inputs else node.all_input_nodes
    graph = Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in inputs:
        if node.op != "placeholder":
            # What a step has computed itself it may change in place.
            copies[node] = graph.call_function(torch.ops.aten.clone.default, (copies[node],))
    for node in one.graph.nodes:
        if node in wanted and node not in copies:
            copies[node] = graph.node_copy(node, lambda other: copies[other])
    graph.output(tuple(copies[node] for node in results))
    return GraphModule(one, graph)


def _changes(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _is_seen_elsewhere(node: Any) -> bool:
    """Whether something else than one change may see the numbers of a node."""
    schema = getattr(node.target, "_schema", None)
    is_view = schema is None or any(result.alias_info for result in schema.returns)
    return is_view or len(node.users) > 1
