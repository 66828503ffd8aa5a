"""PyTorch: some steps of a loop as one program, ahead and back, and what runs them.

A program of all steps would be a new one for every length, and take long to compile; one for a
single step would cost its call at each. So a block has a few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from kcells.engine.backends.torch_step import Given, because, compare, grouped

__all__ = ["BLOCK", "Block", "Graph", "Sought", "block_of"]

BLOCK = 4
"""Steps of a block: with more, time goes down little and the time to compile goes up with them."""

Graph: TypeAlias = Callable[..., Sequence[torch.Tensor]]


@dataclasses.dataclass(frozen=True)
class Sought:
    """Which leaves of a loop's inputs need a gradient; all floats of its carry do.

    Attributes:
        xs: of the sequences.
        learned: of what is the same at every step.
    """

    xs: tuple[bool, ...]
    learned: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Block:
    """Some steps of a loop.

    Attributes:
        ahead: from a carry, the inputs of all steps, and what is the same at each, to the new
            carry, what the steps give, and the carries before each step.
        back: from sums of gradients of what is sought in `learned`, the carries before each step,
            the rest of what `ahead` takes, gradients of the new carry and of what the steps
            give (floats alone), to gradients of the carry, of what is sought in `xs`, and to
            the new sums; None where no gradient is wanted.
    """

    ahead: Graph
    back: Graph | None

    def compiled(self, *example: Sequence[torch.Tensor]) -> Block:
        """The same, by PyTorch's compiler.

        Args:
            example: what to call `ahead` and `back` with, to compare.

        Raises:
            ObstacleError: if there is no compiler, or it gets something wrong.
        """
        back = self.back and _compiled(self.back, example[1])
        return Block(_compiled(self.ahead, example[0]), back)


def _compiled(graph: Graph, example: Sequence[torch.Tensor]) -> Graph:
    # On a CPU C++ makes the calls, which takes a fifth of the time off small steps.
    options = {"cpp_wrapper": True} if example[0].device.type == "cpu" else {}
    program: Graph = torch.compile(graph, fullgraph=True, dynamic=False, options=options)
    # There may be no compiler for C++.
    with because("torch.compile"):
        found = program(*example)
    compare(graph(*example), found)
    return program


def block_of(
    one: torch.fx.GraphModule, first: Given, sought: Sought, steps: int, *, both: bool
) -> tuple[Block, list[torch.Tensor], list[torch.Tensor]]:
    """A block of so many steps, not compiled, and an example of what its graphs take.

    Args:
        one: a step.
        first: what it takes.
        sought: of what its gradient is wanted.
        steps: their number.
        both: whether there is a way back.
    """
    results = one(*first.flat)
    carry = len(first.carry)
    ys = results[carry:]
    floats = [sum(leaf.is_floating_point() for leaf in leaves) for leaves in (first.carry, ys)]

    def ahead(*leaves: torch.Tensor) -> list[torch.Tensor]:
        given = first.like(leaves)
        now, before, emitted = given.carry, [], []
        for t in range(steps):
            before.append(now)
            results = one(*now, *(x[t] for x in given.xs), *given.learned, *given.others)
            now, y = grouped(results, [carry, len(ys)])
            emitted.append(y)
        return [*now, *_stacked(emitted), *_stacked(before)]

    xs = _repeated(first.xs, steps)
    take = first._replace(xs=xs).flat
    if not both:
        return Block(make_fx(ahead)(*take), None), take, []
    counts = [sum(sought.xs), sum(sought.learned)]

    def back(*leaves: torch.Tensor) -> list[torch.Tensor]:
        sizes = [counts[1], len(first.flat), *floats]
        sums, inputs, of_carry, of_ys = grouped(leaves, sizes)
        given, of_xs = first.like(inputs), []
        for t in reversed(range(steps)):
            step = given._replace(
                carry=[leaf[t] for leaf in given.carry], xs=[x[t] for x in given.xs]
            )
            found = one_back(one, step, [*of_carry, *(y[t] for y in of_ys)], sought)
            of_carry, of_x, of_learned = grouped(found, [floats[0], *counts])
            of_xs.append(of_x)
            sums = [total + gradient for total, gradient in zip(sums, of_learned, strict=True)]
        return [*of_carry, *_stacked(of_xs[::-1]), *sums]

    # Each a tensor of its own, or the trace would take two for one.
    upstream = [*map(torch.clone, _floats(results[:carry])), *_repeated(_floats(ys), steps)]
    sums = [torch.zeros_like(leaf) for leaf in _sought(first.learned, sought.learned)]
    whole = first._replace(xs=xs, carry=_repeated(first.carry, steps)).flat
    give = [*sums, *whole, *upstream]
    return Block(make_fx(ahead)(*take), make_fx(back)(*give)), take, give


def one_back(
    one: torch.fx.GraphModule, given: Given, upstream: Sequence[torch.Tensor], sought: Sought
) -> list[torch.Tensor]:
    """Gradients of one step: of the carry, and of what is sought in `xs` and in `learned`."""
    leaves = Given(
        [_leaf(leaf, leaf.is_floating_point()) for leaf in given.carry],
        list(map(_leaf, given.xs, sought.xs)),
        list(map(_leaf, given.learned, sought.learned)),
        given.others,
    )
    with torch.enable_grad():
        results = one(*leaves.flat)
    wanted = [leaf for leaf in leaves.flat if leaf.requires_grad]
    pairs = zip(_floats(results), upstream, strict=True)
    live = [pair for pair in pairs if pair[0].requires_grad]
    if not live:
        return [torch.zeros_like(leaf) for leaf in wanted]
    outputs, gradients = zip(*live, strict=True)
    found = torch.autograd.grad(outputs, wanted, gradients, allow_unused=True)
    pairs = zip(found, wanted, strict=True)
    return [torch.zeros_like(leaf) if gradient is None else gradient for gradient, leaf in pairs]


def _leaf(tensor: torch.Tensor, needed: bool) -> torch.Tensor:
    return tensor.detach().requires_grad_(needed)


def _floats(leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [leaf for leaf in leaves if leaf.is_floating_point()]


def _sought(leaves: Sequence[torch.Tensor], flags: Sequence[bool]) -> list[torch.Tensor]:
    return [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]


def _repeated(leaves: Sequence[torch.Tensor], steps: int) -> list[torch.Tensor]:
    return [torch.stack([leaf] * steps) for leaf in leaves]


def _stacked(rows: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.stack(list(same)) for same in zip(*rows, strict=True)]
