"""PyTorch: a loop whose backward pass finds the states between blocks of steps only.

`torch.utils.checkpoint` makes the graph of every step in the forward pass, without its numbers;
over thousands of small steps that graph is larger than the numbers. Here a block leaves nothing
but one node, as long as everything a gradient may reach goes into it as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

__all__ = ["graph_behind", "in_many_nodes", "in_one_node", "reaches_for_more"]


def in_one_node(
    function: Callable[..., Sequence[Any]], again: Callable[[Callable[[], Any]], Any], *tensors: Any
) -> list[Any]:
    """`function(*tensors)`, whose backward pass runs `function` once more, in `again`."""
    return list(_Block.apply(function, again, *tensors))


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Any, again: Any, *tensors: Any) -> Any:
        ctx.function, ctx.again = function, again
        ctx.save_for_backward(*tensors)
        return tuple(function(*tensors))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # With a graph of its own if the gradient is to be differentiated again.
        further = torch.is_grad_enabled()
        if further:
            # Of its own arguments: a state comes from the weights too, by way of other blocks.
            tensors = [t.view_as(t) for t in ctx.saved_tensors]
        else:
            pairs = zip(ctx.saved_tensors, ctx.needs_input_grad[2:], strict=True)
            tensors = [t.detach().requires_grad_(needed) for t, needed in pairs]
        with torch.enable_grad():
            results = ctx.again(lambda: ctx.function(*tensors))
        pairs = zip(results, gradients, strict=True)
        outputs, upstream = zip(*((r, g) for r, g in pairs if r.requires_grad), strict=True)
        sought = [t for t in tensors if t.requires_grad]
        found = iter(
            torch.autograd.grad(outputs, sought, upstream, create_graph=further, allow_unused=True)
        )
        return None, None, *(next(found) if t.requires_grad else None for t in tensors)


def reaches_for_more(function: Callable[..., Sequence[Any]], *tensors: Any) -> bool:
    """Whether a gradient of `function(*tensors)` reaches anything but `tensors`."""
    with torch.enable_grad():
        inputs = [t.detach().requires_grad_(t.requires_grad) for t in tensors]
        results = function(*inputs)
    known = {id(t) for t in inputs}
    leaves = (node.variable for node in graph_behind(results) if hasattr(node, "variable"))
    return any(id(leaf) not in known for leaf in leaves)


def graph_behind(results: Sequence[Any], before: Collection[Any] = ()) -> Iterator[Any]:
    """Every node of the graph behind `results`, as far as the nodes `before`."""
    waiting = [r.grad_fn for r in results if r.grad_fn is not None]
    seen = set(before)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]


def in_many_nodes(
    function: Callable[..., Sequence[Any]], again: Callable[[Callable[[], Any]], Any], *tensors: Any
) -> list[Any]:
    """The same for a function that reaches for more: what PyTorch offers."""
    runs: list[bool] = []

    def once_more(*tensors: Any) -> Any:
        runs.append(True)
        is_first = len(runs) == 1
        return function(*tensors) if is_first else again(lambda: function(*tensors))

    return list(checkpoint(once_more, *tensors, use_reentrant=False))
