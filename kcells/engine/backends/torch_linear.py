"""PyTorch: `h_t = a_t * h_{t-1} + b_t` over all steps, in few calls, with its own gradient."""

from __future__ import annotations

import math
from typing import Any

import torch

from kcells.engine.thresholds import THRESHOLDS

__all__ = ["LinearScan"]


class LinearScan(torch.autograd.Function):
    """`h_t = a_t * h_{t-1} + b_t`, forwards or from the end.

    Its gradient is the same recurrence in the other direction, so it is written with
    itself, and may be differentiated any number of times.
    """

    @staticmethod
    def forward(a: Any, b: Any, first: Any, from_the_end: bool) -> Any:
        return _linear_steps(a, b, first, from_the_end)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        a, _, first, ctx.from_the_end = inputs
        ctx.save_for_backward(a, output, first)
        ctx.save_for_forward(a, output, first)

    @staticmethod
    def jvp(ctx: Any, of_a: Any, of_b: Any, of_first: Any, _: Any) -> Any:
        a, h, first = ctx.saved_tensors
        before = _before(h, first, ctx.from_the_end)
        return LinearScan.apply(a, of_a * before + of_b, of_first, ctx.from_the_end)

    @staticmethod
    def vmap(info: Any, in_dims: Any, a: Any, b: Any, first: Any, from_the_end: bool) -> Any:
        # Any axis after the time is a batch of recurrences.
        size = info.batch_size
        a, b, first = (
            x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((a, b, first), in_dims, strict=False)
        )
        a, b = a.movedim(0, 1), b.movedim(0, 1)
        return LinearScan.apply(a, b, first, from_the_end), 1

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        a, h, first = ctx.saved_tensors
        a = a.conj()
        zeros = torch.zeros_like(a[:1])
        before = _before(h, first, ctx.from_the_end)
        if ctx.from_the_end:
            after, start = torch.cat([zeros, a[:-1]]), -1
        else:
            after, start = torch.cat([a[1:], zeros]), 0
        into_b = LinearScan.apply(after, gradient, torch.zeros_like(first), not ctx.from_the_end)
        return into_b * before.conj(), into_b, a[start] * into_b[start], None


def _before(h: Any, first: Any, from_the_end: bool) -> Any:
    """`h` before every step, from `h` after it."""
    return torch.cat([h[1:], first[None]]) if from_the_end else torch.cat([first[None], h[:-1]])


def _linear_steps(a: Any, b: Any, first: Any, from_the_end: bool) -> Any:
    """All steps: one after the other where a step is large, else in blocks of steps."""
    a, h = a.resolve_conj(), b.resolve_conj().clone()
    many = first.is_cuda or first.numel() <= THRESHOLDS.torch_blocks
    block = math.isqrt(len(a)) if many else 1
    whole = len(a) - len(a) % block if block > 1 else 0
    if from_the_end:
        _in_turn(a[whole:], h[whole:], first, from_the_end)
        first = h[whole] if whole < len(a) else first
    if whole:
        _in_blocks(a[:whole], h[:whole], first, block, from_the_end)
    if not from_the_end:
        _in_turn(a[whole:], h[whole:], h[whole - 1] if whole else first, from_the_end)
    return h


def _in_blocks(a: Any, h: Any, first: Any, block: int, from_the_end: bool) -> None:
    """The recurrence in place, in a few times the square root of the number of steps calls.

    Of all blocks at once, what each makes of zero and of one; from block to block, where each
    starts; then all blocks at once from there.
    """
    shape = (-1, block, *h.shape[1:])
    steps = list(zip(a.reshape(shape).unbind(1), h.view(shape).unbind(1), strict=True))
    if from_the_end:
        steps.reverse()
    product, end = (x.clone() for x in steps[0])
    for coefficient, row in steps[1:]:
        end = torch.addcmul(row, coefficient, end)
        product.mul_(coefficient)
    _in_turn(product, end, first, from_the_end)
    before = _before(end, first, from_the_end)
    for coefficient, row in steps:
        before = row.addcmul_(coefficient, before)


def _in_turn(a: Any, h: Any, first: Any, from_the_end: bool) -> None:
    """The recurrence in place: `h` holds `b` before."""
    rows = list(zip(a.unbind(0), h.unbind(0), strict=True))
    for coefficient, row in reversed(rows) if from_the_end else rows:
        row.addcmul_(coefficient, first)
        first = row
