"""PyTorch: what is around a call, a trace or a transform, and so what may run in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.autograd import forward_ad

__all__ = ["traced", "transformed"]


def traced() -> bool:
    """Whether what runs now is written down operation by operation, for a script or a file.

    That is in `torch.jit.trace`, `torch.export` and both exporters for ONNX. TorchScript
    loses what is written in place inside of an `autograd.Function`, and says nothing.
    """
    exports = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return bool(torch.jit.is_tracing() or exports)


def transformed(tensors: Iterable[Any]) -> bool:
    """Whether a transform of functions looks at one of `tensors`.

    That is `torch.vmap` and everything in `torch.func`, whose tensors are wrapped ones, and
    forward-mode differentiation.
    """
    if torch.compiler.is_compiling():
        return False
    return any(isinstance(tensor, torch.Tensor) and _is_transformed(tensor) for tensor in tensors)


def _is_transformed(tensor: torch.Tensor) -> bool:
    return (
        torch.func.debug_unwrap(tensor, recurse=False) is not tensor
        or forward_ad.unpack_dual(tensor).tangent is not None
        # A gradient of `torch.autograd.grad(is_grads_batched=True)`, for which PyTorch has
        # no public name.
        or torch._C._functorch.is_legacy_batchedtensor(tensor)
    )
