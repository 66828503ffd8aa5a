"""PyTorch: a loop over blocks of steps, with its own backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch

from kcells.engine.backends.base import steps_again
from kcells.engine.backends.torch_around import transformed
from kcells.engine.backends.torch_blocks import Block, Graph, Sought
from kcells.engine.backends.torch_products import Split
from kcells.engine.backends.torch_step import Given, grouped

__all__ = ["OwnLoop", "detached"]


class OwnLoop(NamedTuple):
    """A loop over steps that are known as graphs.

    The forward pass keeps the carry before every step, and the backward pass differentiates one
    block after the other from the end, adding up the gradients of what is the same at every step.
    With `checkpoint` it keeps the carry before each stretch of steps alone, and runs a stretch once
    more to have the others.

    Attributes:
        one: a step, as a graph of differentiable operations.
        blocks: what runs some steps at once, the longest first; the last has one.
        sought: of what a gradient is wanted.
        checkpoint: as for the layer.
        split: the products that are computed before it, which a step takes; None for none.
    """

    one: torch.fx.GraphModule
    blocks: tuple[tuple[int, Block], ...]
    sought: Sought
    checkpoint: bool | int
    split: Split | None = None

    def run(self, given: Given) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The last carry, and what the steps gave, `(time, ...)`."""
        if self.split is not None:
            given = self.split.of_all_steps(given)
        if torch.is_grad_enabled():
            results = list(_Function.apply(self, given, *given.flat))
        else:
            results, _ = self.ahead(detached(given), keeps=False)
        return results[: len(given.carry)], results[len(given.carry) :]

    def pieces(self, start: int, stop: int) -> Iterator[tuple[slice, Block]]:
        """Where each block of the steps from `start` to `stop` lies."""
        for steps, block in self.blocks:
            while start + steps <= stop:
                yield slice(start, start + steps), block
                start += steps

    def stretches(self, length: int) -> Iterator[tuple[int, int]]:
        """Where each stretch begins and ends."""
        size, block = length, self.blocks[0][0]
        if self.checkpoint:
            # Of whole blocks.
            size = -(-steps_again(self.checkpoint, length) // block) * block
        return ((start, min(length, start + size)) for start in range(0, length, size))

    def ahead(self, given: Given, *, keeps: bool) -> tuple[list[torch.Tensor], list[Any]]:
        """The last carry and what all steps gave, in a row; and what was kept of each stretch."""
        carry, emitted, kept = given.carry, [], []
        for start, stop in self.stretches(len(given.xs[0])):
            before = carry
            carry, ys, states = self.over(start, stop, given._replace(carry=carry), keeps=keeps)
            emitted += ys
            if keeps:
                kept.append(before if self.checkpoint else states)
        whole = [torch.cat(same) for same in zip(*emitted, strict=True)]
        return [*carry, *whole], kept

    def over(
        self, start: int, stop: int, given: Given, *, keeps: bool
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """One stretch: the new carry, and for each block what it gave and the carries in it."""
        carry, emitted, states = given.carry, [], []
        for steps, block in self.pieces(start, stop):
            xs = [leaf[steps] for leaf in given.xs]
            results = block.ahead(*carry, *xs, *given.learned, *given.others)
            count = len(carry)
            carry, ys, before = grouped(results, [count, len(results) - 2 * count, count])
            carry = _in_order(carry)
            emitted.append(ys)
            if keeps:
                states.append(before)
        return carry, emitted, states

    def back(
        self, given: Given, kept: Sequence[Any], upstream: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Gradients of all of `given`, in a row."""
        count = sum(leaf.is_floating_point() for leaf in given.carry)
        of_carry, of_ys = list(upstream[:count]), upstream[count:]
        pairs = zip(given.learned, self.sought.learned, strict=True)
        sums = [torch.zeros_like(leaf) for leaf, wanted in pairs if wanted]
        of_xs: list[list[torch.Tensor]] = []
        stretches = list(self.stretches(len(given.xs[0])))
        for (start, stop), states in zip(reversed(stretches), reversed(kept), strict=True):
            if self.checkpoint:
                _, _, states = self.over(start, stop, given._replace(carry=states), keeps=True)
            pieces = list(self.pieces(start, stop))
            for (steps, block), before in zip(reversed(pieces), reversed(states), strict=True):
                xs = [leaf[steps] for leaf in given.xs]
                found = cast(Graph, block.back)(
                    *sums, *before, *xs, *given.learned, *given.others,
                    *of_carry, *(leaf[steps] for leaf in of_ys),
                )  # fmt: skip
                of_carry, of_x, sums = grouped(found, [count, sum(self.sought.xs), len(sums)])
                of_carry, sums = _in_order(of_carry), _in_order(sums)
                of_xs.append(of_x)
        whole = [torch.cat(same[::-1]) for same in zip(*of_xs, strict=True)]
        return self._placed(given, of_carry, whole, sums)

    def _placed(self, given: Given, *found: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
        """Gradients in the places of what they belong to; None elsewhere."""
        floats = [leaf.is_floating_point() for leaf in given.carry]
        flags = (floats, self.sought.xs, self.sought.learned, [False] * len(given.others))
        rest = iter([leaf for group in found for leaf in group])
        return [next(rest) if flag else None for group in flags for flag in group]

    def by_steps(self, given: Given) -> list[torch.Tensor]:
        """What `ahead` gives first, in operations that can be differentiated again and again."""
        carry, emitted = given.carry, []
        for t in range(len(given.xs[0])):
            xs = [leaf[t] for leaf in given.xs]
            results = self.one(*carry, *xs, *given.learned, *given.others)
            carry = list(results[: len(carry)])
            emitted.append(results[len(carry) :])
        return [*carry, *(torch.stack(same) for same in zip(*emitted, strict=True))]


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loop: OwnLoop, given: Given, *flat: torch.Tensor) -> Any:
        ctx.loop, ctx.groups = loop, list(map(len, given))
        ctx.save_for_backward(*flat)
        results, ctx.kept = loop.ahead(detached(given), keeps=True)
        ctx.is_float = [leaf.is_floating_point() for leaf in results]
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        given = Given(*grouped(ctx.saved_tensors, ctx.groups))
        upstream = [g for g, wanted in zip(gradients, ctx.is_float, strict=True) if wanted]
        if torch.is_grad_enabled() or transformed(upstream):
            return None, None, *_again(ctx, given, upstream)
        return None, None, *ctx.loop.back(detached(given), ctx.kept, _in_order(upstream))


def _again(ctx: Any, given: Given, upstream: Sequence[torch.Tensor]) -> list[Any]:
    """Gradients that can be differentiated again, or are wanted for many upstream ones at once."""
    further = torch.is_grad_enabled()
    # Views, for a state may come from the weights too.
    leaves = [leaf.view_as(leaf) if further else leaf.detach() for leaf in given.flat]
    if not further:
        pairs = zip(leaves, ctx.needs_input_grad[2:], strict=True)
        leaves = [leaf.requires_grad_(needed) for leaf, needed in pairs]
    with torch.enable_grad():
        results = ctx.loop.by_steps(given.like(leaves))
    floats = (leaf for leaf, wanted in zip(results, ctx.is_float, strict=True) if wanted)
    live = [pair for pair in zip(floats, upstream, strict=True) if pair[0].requires_grad]
    sought = [leaf for leaf in leaves if leaf.requires_grad]
    if not live:
        return [None for _ in leaves]
    outputs, gradients = zip(*live, strict=True)
    found = iter(
        torch.autograd.grad(outputs, sought, gradients, create_graph=further, allow_unused=True)
    )
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def detached(given: Given) -> Given:
    """The same without what a compiled program tells apart: gradients, and an order in memory."""
    return given.like(_in_order([leaf.detach() for leaf in given.flat]))


def _in_order(leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [leaf.contiguous() for leaf in leaves]
