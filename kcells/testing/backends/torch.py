"""PyTorch, for the checks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from keras import ops

from kcells.testing.backends.base import is_float, weighted_sum

__all__ = ["compiled", "differentiated", "double_precision"]


def differentiated(
    call: Callable[[list[Any]], list[Any]], trained: Sequence[Any], others: Sequence[Any]
) -> Callable[[Any, Any], tuple[list[Any], list[Any]]]:
    """See the package."""

    def differentiate(leaves: Any, cotangents: Any) -> tuple[list[Any], list[Any]]:
        leaves = [ops.convert_to_tensor(leaf).detach() for leaf in leaves]
        floats = [leaf.requires_grad_(True) for leaf in leaves if is_float(leaf)]
        results = call(leaves)
        loss = weighted_sum(results, cotangents)
        sources = [v.value for v in trained] + floats
        gradients = torch.autograd.grad(loss, sources, allow_unused=True, materialize_grads=True)
        return results, list(gradients)

    return differentiate


compiled = None


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """PyTorch always has float64."""
    return contextlib.nullcontext()
