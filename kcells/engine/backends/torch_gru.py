"""PyTorch on a CPU: a GRU with a backward pass as a whole, four operations a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kcells.engine.backends.base import Weights
from kcells.engine.backends.torch_around import transformed

__all__ = ["cpu_gru"]

_BLOCK = 2**15
"""How many numbers of the state a block of steps may have."""


def cpu_gru(
    inputs: Any, states: Sequence[Sequence[Any]], weights: Sequence[Weights]
) -> tuple[list[Any], list[list[Any]]]:
    outputs, final = [], []
    length, batch, features = inputs.shape
    # The sums of a state over many steps are for its own dtype.
    with torch.autocast("cpu", enabled=False):
        for k, (own, (h,)) in enumerate(zip(weights, states, strict=True)):
            # As one matrix: the product of a view with three axes is many small ones.
            projected = torch.addmm(own.bias[0], inputs.reshape(-1, features), own.kernel)
            projected = projected.view(length, batch, own.kernel.shape[1])
            projected = projected.flip(0) if k else projected
            keeps = torch.is_grad_enabled()
            hs = _GRULoop.apply(projected, h, own.recurrent_kernel, own.bias[1], keeps)
            final.append([hs[-1].clone()])
            outputs.append(hs.flip(0) if k else hs)
    return outputs, final


class _GRULoop(torch.autograd.Function):
    """`h_t = z_t * h_{t-1} + (1 - z_t) * n_t` over all steps, with its backward pass.

        (z; r) = sigmoid(x_zr + h U_zr + b_zr)    n = tanh(x_n + r * (h U_n + b_n))

    The gradients of everything before the activations are those of `h` times factors that
    need no gradient, so these are computed for all steps at once, and what is left for
    the loop backwards is a product with them and one with `U`. The gradient of `U` is one
    product after the loop.

    Where the gradient is to be differentiated again, or many are asked for at once, it is
    that of the same loop in plain operations.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Any, first: Any, recurrent_kernel: Any, bias: Any, keeps: bool
    ) -> Any:
        length, batch, width = projected.shape
        units = width // 3
        keeps = keeps and any(ctx.needs_input_grad)
        hs = projected.new_empty(length + 1, batch, units)
        hs[0] = first
        slots = length if keeps else 1
        products = projected.new_empty(slots, batch, width)
        gates = projected.new_empty(slots, batch, 2 * units)
        candidates = projected.new_empty(slots, batch, units)
        x_gates, x_candidates = projected[..., : 2 * units], projected[..., 2 * units :]
        for t in range(length):
            slot = t if keeps else 0
            product, gate, candidate = products[slot], gates[slot], candidates[slot]
            torch.addmm(bias, hs[t], recurrent_kernel, out=product)
            torch.add(x_gates[t], product[:, : 2 * units], out=gate).sigmoid_()
            z, r = gate[:, :units], gate[:, units:]
            torch.addcmul(x_candidates[t], r, product[:, 2 * units :], out=candidate).tanh_()
            torch.lerp(candidate, hs[t], z, out=hs[t + 1])
        inputs = (projected, first, recurrent_kernel, bias)
        ctx.save_for_backward(hs, gates, candidates, products[..., 2 * units :], *inputs)
        return hs[1:].clone() if keeps else hs[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        hs, gates, candidates, products, *inputs = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed([gradient]):
            return *_step_by_step(inputs, gradient, ctx.needs_input_grad), None
        recurrent_kernel = inputs[2]
        length, batch, units = gradient.shape
        transposed = recurrent_kernel.T.contiguous()
        into_products = gradient.new_empty(length, batch, 3, units)
        into_candidates = torch.empty_like(gradient)
        current = gradient[-1]
        # In blocks of steps: few calls where a step is small, and where it is large the
        # factors are still in the cache when they are used.
        block = max(1, _BLOCK // max(1, batch * units))
        for end in range(length, 0, -block):
            start = max(0, end - block)
            z, r = gates[start:end, :, :units], gates[start:end, :, units:]
            candidate, before = candidates[start:end], hs[start:end]
            into_candidate = (1 - z) * (1 - candidate.square())
            after_reset = into_candidate * r
            factors = torch.stack(
                [
                    z * (1 - z) * (before - candidate),
                    after_reset * (1 - r) * products[start:end],
                    after_reset,
                ],
                dim=2,
            )
            for t in range(end - 1, start - 1, -1):
                here = t - start
                torch.mul(current.unsqueeze(1), factors[here], out=into_products[t])
                torch.mul(current, into_candidate[here], out=into_candidates[t])
                current = current * z[here]
                if t:
                    current += gradient[t - 1]
                current.addmm_(into_products[t].view(batch, 3 * units), transposed)
        flat = into_products.view(-1, 3 * units)
        into_kernel = hs[:-1].reshape(-1, units).T @ flat
        into_bias = flat.sum(0)
        # The inputs reach the candidate past the reset gate.
        into_products[:, :, 2] = into_candidates
        into_projected = into_products.view(length, batch, 3 * units)
        return into_projected, current, into_kernel, into_bias, None


def _step_by_step(inputs: Sequence[Any], gradient: Any, needed: Sequence[bool]) -> list[Any]:
    """The gradients that are needed, with a graph of their own if one is being made."""
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: the first state may come from the same weights, by way of another call.
        inputs = [t.view_as(t) for t in inputs]
        outputs = _plain(*inputs)
    sought = [k for k, is_needed in enumerate(needed[: len(inputs)]) if is_needed]
    found = torch.autograd.grad(
        outputs, [inputs[k] for k in sought], gradient, create_graph=further, allow_unused=True
    )
    return [dict(zip(sought, found, strict=True)).get(k) for k in range(len(inputs))]


def _plain(projected: Any, h: Any, recurrent_kernel: Any, bias: Any) -> Any:
    outputs = []
    for x in projected:
        x_gates, x_candidate = x.tensor_split([2 * h.shape[-1]], dim=-1)
        h_gates, h_candidate = torch.addmm(bias, h, recurrent_kernel).tensor_split(
            [2 * h.shape[-1]], dim=-1
        )
        z, r = torch.sigmoid(x_gates + h_gates).chunk(2, dim=-1)
        h = torch.lerp(torch.tanh(x_candidate + r * h_candidate), h, z)
        outputs.append(h)
    return torch.stack(outputs)
