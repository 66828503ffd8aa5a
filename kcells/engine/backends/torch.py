"""PyTorch: the loop is Python, step by step; LSTM and GRU have kernels on every device.

`torch.lstm` and `torch.gru` are what `torch.nn.LSTM` and `torch.nn.GRU` call: cuDNN on a
GPU, oneDNN for the LSTM on a CPU. Their matrices are transposed against Keras'. For a GRU
on a CPU PyTorch has but a loop over small operations, each with a gradient of its own; the
one here has a backward pass as a whole, with four operations a step, and is faster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch
from keras import ops, tree

from kcells.cells.equivalence import BuiltinName
from kcells.cells.linear import Product, multiply
from kcells.cells.variables import check_updates, current_value
from kcells.engine.backends.base import DEFAULTS, Settings, SizeCheck, Weights
from kcells.engine.backends.torch_around import traced, transformed
from kcells.engine.backends.torch_checkpoint import (
    in_many_nodes,
    in_one_node,
    reaches_for_more,
)
from kcells.engine.backends.torch_gru import cpu_gru
from kcells.engine.backends.torch_linear import LinearScan
from kcells.engine.backends.torch_programs import scan_compiled
from kcells.engine.backends.unrolled import scan as plain_scan
from kcells.engine.thresholds import THRESHOLDS
from kcells.types import Step, Structure

__all__ = [
    "as_long_as",
    "as_one",
    "checked",
    "device",
    "fused",
    "has_numbers",
    "linear_scan",
    "made_dense",
    "scan",
    "steps_at",
    "transformed",
    "under_xla",
    "writes",
]


def device(tensor: Any = None) -> str:
    """See `base.Backend.device`."""
    if isinstance(tensor, torch.Tensor):
        # Others, such as Apple's, have no kernels that are known here.
        known = {"cuda": "gpu", "cpu": "cpu", "meta": "cpu"}
        return known.get(tensor.device.type, str(tensor.device.type))
    return "gpu" if torch.cuda.is_available() else "cpu"


def steps_at(sequence: Any, index: Any) -> Any:
    """See `base.Backend.steps_at`; by the operation that every exporter knows."""
    sequence = ops.convert_to_tensor(sequence)
    return torch.gather(sequence, 0, index.long().expand(-1, -1, *sequence.shape[2:]))


def under_xla() -> bool:
    """See `base.Backend.under_xla`."""
    return False


def has_numbers(tensor: Any) -> bool:
    """See `base.Backend.has_numbers`: on the device "meta" there are none."""
    return not tensor.is_meta


def writes() -> str:
    """See `base.Backend.writes`."""
    return "onnx" if torch.onnx.is_in_onnx_export() else ""


def fused(
    builtin: BuiltinName,
    inputs: Any,
    states: Sequence[Sequence[Any]],
    weights: Sequence[Weights],
) -> tuple[list[Any], list[list[Any]]]:
    """See `base.Backend.fused`."""
    written = traced() or torch.compiler.is_compiling()
    if builtin == "gru" and device(inputs) == "cpu" and not written:
        return cpu_gru(inputs, states, weights)
    convert = _lstm_weights if builtin == "lstm" else _gru_weights
    parameters = [tensor for direction in weights for tensor in convert(direction)]
    stacked = [torch.stack(same) for same in zip(*states, strict=True)]
    function = torch.lstm if builtin == "lstm" else torch.gru
    outputs, *final = function(
        inputs.contiguous(),
        stacked if builtin == "lstm" else stacked[0],
        parameters,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        # Without it the kernel keeps nothing for the backward pass. A script says once what
        # goes for all of its calls.
        train=torch.is_grad_enabled() or torch.jit.is_tracing(),
        bidirectional=len(weights) == 2,
        batch_first=False,
    )
    directions = range(len(weights))
    # Not by `chunk`: its results may not be changed in place.
    units = outputs.shape[-1] // len(weights)
    own = [outputs[..., k * units : (k + 1) * units] for k in directions]
    return own if len(own) > 1 else [outputs], [[state[k] for state in final] for k in directions]


def _lstm_weights(weights: Weights) -> list[Any]:
    kernel, recurrent_kernel, bias = weights
    return [_transposed(kernel), _transposed(recurrent_kernel), bias, torch.zeros_like(bias)]


def _gru_weights(weights: Weights) -> list[Any]:
    # The gates are z, r, h in Keras and r, z, h here.
    kernel, recurrent_kernel, bias = (
        torch.cat([r, z, h], dim=-1)
        for z, r, h in (torch.chunk(weight, 3, dim=-1) for weight in weights)
    )
    return [_transposed(kernel), _transposed(recurrent_kernel), bias[0], bias[1]]


def _transposed(matrix: Any) -> Any:
    return matrix.T.contiguous()


def as_long_as(tensor: Any, like: Any) -> Any:
    """See `base.Backend.as_long_as`; an unknown size is as good as any other."""
    return tensor


def checked(tensors: Structure, sizes: Sequence[SizeCheck], who: str) -> Structure:
    """See `base.Backend.checked`: every size is known when a call is made."""
    return tensors


def made_dense(leaf: Any) -> str | None:
    """See `base.Backend.made_dense`."""
    return "x.to_dense()" if getattr(leaf, "is_sparse", False) else None


def scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    *,
    emits: Structure,
    variables: Sequence[Any],
    settings: Settings = DEFAULTS,
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`."""

    def plain() -> tuple[Structure, Structure]:
        return _plain_scan(step, carry, xs, emits, variables, settings)

    if not settings.compiles or _is_watched():
        return plain()
    if torch.compiler.is_compiling():
        # The user's own `torch.compile` would write every step out, and compile for minutes.
        settings = dataclasses.replace(settings, compiles_at_once=True)
        return _scan_apart(step, carry, xs, emits, variables, settings, plain)
    return scan_compiled(step, carry, xs, emits, variables, settings, plain)


_scan_apart: Callable[..., tuple[Structure, Structure]] = torch.compiler.disable(scan_compiled)


def _is_watched() -> bool:
    """Whether something else than gradients follows every operation."""
    return traced() or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


def _plain_scan(
    step: Step,
    carry: Structure,
    xs: Structure,
    emits: Structure,
    variables: Sequence[Any],
    settings: Settings,
) -> tuple[Structure, Structure]:
    if not settings.checkpoint or not torch.is_grad_enabled() or traced():
        return _in_blocks(step, carry, xs, emits, settings)
    flat_carry, flat_xs = tree.flatten(carry), tree.flatten(xs)
    # Copies of what a step may update: the variables are overwritten at the end.
    now = [current_value(v) if v.trainable else ops.copy(current_value(v)) for v in variables]
    sizes = (len(now), len(flat_carry), len(flat_xs))

    def of_a_block(now: list[Any], after: list[Any]) -> Callable[..., list[Any]]:
        """A block as a function of tensors; tells in `after` what became of the variables."""

        def run(*tensors: Any) -> list[Any]:
            rest = iter(tensors)
            values, states, some = ([next(rest) for _ in range(size)] for size in sizes)
            # A second run must find the variables as they were, and leave them alone.
            with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
                # Not `values`: on a device with a number Keras takes copies.
                held = [scope.get_current_value(v) for v in variables]
                new_carry, ys = _in_blocks(
                    step,
                    tree.pack_sequence_as(carry, states),
                    tree.pack_sequence_as(xs, some),
                    emits,
                    settings,
                )
                check_updates(scope, variables)
                new_values = [scope.get_current_value(v) for v in variables]
                after[:] = [
                    kept if new is old else new
                    for kept, old, new in zip(now, held, new_values, strict=True)
                ]
            return [*tree.flatten(new_carry), *tree.flatten(ys)]

        return run

    one_step = [leaf[:1] for leaf in flat_xs]
    more = reaches_for_more(of_a_block(now, []), *now, *flat_carry, *one_step)
    remember = in_many_nodes if more else in_one_node
    block = settings.block(len(flat_xs[0]))
    before, emitted = now, []
    for some in zip(*(leaf.split(block) for leaf in flat_xs), strict=True):
        after: list[Any] = []
        results = remember(of_a_block(now, after), settings.again, *now, *flat_carry, *some)
        flat_carry, now = results[: len(flat_carry)], list(after)
        emitted.append(results[len(flat_carry) :])
    for variable, old, new in zip(variables, before, now, strict=True):
        if new is not old:
            variable.assign(new)
    whole = [torch.cat(parts) for parts in zip(*emitted, strict=True)]
    return tree.pack_sequence_as(carry, flat_carry), tree.pack_sequence_as(emits, whole)


def _in_blocks(
    step: Step, carry: Structure, xs: Structure, emits: Structure, settings: Settings
) -> tuple[Structure, Structure]:
    """The steps in turn; the input side for as many at once as stay in a CPU's cache."""
    flat_xs = tree.flatten(xs)
    # In a trace the sizes are symbols, and to compare them would settle them.
    if settings.project is None or flat_xs[0].is_cuda or traced():
        return plain_scan(step, carry, xs, emits=emits, variables=[], settings=settings)
    length, numbers = len(flat_xs[0]), sum(leaf.numel() for leaf in tree.flatten(carry))
    block = max(1, THRESHOLDS.torch_projects // max(1, numbers))
    if block >= length:
        return plain_scan(step, carry, xs, emits=emits, variables=[], settings=settings)
    emitted = []
    for parts in zip(*(leaf.split(block) for leaf in flat_xs), strict=True):
        some = tree.pack_sequence_as(xs, list(parts))
        carry, ys = plain_scan(step, carry, some, emits=emits, variables=[], settings=settings)
        emitted.append(tree.flatten(ys))
    whole = [torch.cat(same) for same in zip(*emitted, strict=True)]
    return carry, tree.pack_sequence_as(emits, whole)


def as_one(
    function: Callable[[Structure], Structure],
    given: Structure,
    variables: Sequence[Any],
    settings: Settings,
) -> Structure:
    """See `base.Backend.as_one`; there is no compiler."""
    return function(given)


def linear_scan(a: Any, b: Any, first: Any, product: Product, settings: Settings = DEFAULTS) -> Any:
    """See `base.Backend.linear_scan`."""
    if traced():
        return _step_by_step(a, b, first, product)
    if product == "elementwise":
        return LinearScan.apply(a, b, first, False)
    a, b, first = (torch.view_as_complex(x.contiguous()) for x in (a, b, first))
    return torch.view_as_real(LinearScan.apply(a, b, first, False))


def _step_by_step(a: Any, b: Any, first: Any, product: Product) -> Any:
    """The recurrence in plain operations on real numbers, which every exporter knows."""
    rows = []
    for coefficient, row in zip(a.unbind(0), b.unbind(0), strict=True):
        first = multiply(product, coefficient, first) + row
        rows.append(first)
    return torch.stack(rows)
