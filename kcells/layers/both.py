"""Both directions of a `Bidirectional` in one call of a kernel, where there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import tree

from kcells import stock
from kcells.cells.equivalence import is_keras_cell
from kcells.engine.conditions import all_hold
from kcells.engine.facts import facts_of
from kcells.engine.plan_both import DirectionFacts, choose_both
from kcells.engine.run import execute_both, has_steps
from kcells.layers.calls import Call
from kcells.layers.rnn import RNN
from kcells.reasons import Reason
from kcells.types import Structure

__all__ = ["reasons_for_both", "run_both"]


def reasons_for_both(
    wrapper: stock.Bidirectional,
    calls: Sequence[Call],
    arguments: Sequence[dict[str, Any]],
) -> tuple[Reason, ...]:
    """Every condition for one call of a kernel, with its answer."""
    forward, backward = (
        _facts(wrapper, call, given) for call, given in zip(calls, arguments, strict=True)
    )
    return choose_both(forward, backward, masked=calls[0].mask is not None)


def run_both(
    wrapper: stock.Bidirectional, sequences: Structure, arguments: Sequence[dict[str, Any]]
) -> list[Structure] | None:
    """What both layers return; None if they have to be called one after the other.

    Args:
        wrapper: the layer around both.
        sequences: its inputs.
        arguments: the call arguments of the forward and of the backward layer.
    """
    layers = (wrapper.forward_layer, wrapper.backward_layer)
    # Asked first, as it costs nothing: few machines have a kernel at all.
    if not all(isinstance(layer, RNN) and layer.plan.both_directions for layer in layers):
        return None
    calls = [
        layer.begin(sequences, **{**given, "training": bool(given["training"])})
        for layer, given in zip(layers, arguments, strict=True)
    ]
    if not all_hold(reasons_for_both(wrapper, calls, arguments)):
        return None
    forward, backward = calls
    options = forward.layer.loop_options
    if not has_steps(forward.sequences):
        return None
    results = execute_both(
        forward.layer.bound,
        backward.layer.bound,
        forward.sequences,
        (forward.states, backward.states),
        forward.mask,
        options,
    )
    return [call.layer.finish(*result) for call, result in zip(calls, results, strict=True)]


def _facts(wrapper: stock.Bidirectional, call: Call, given: dict[str, Any]) -> DirectionFacts:
    layer = call.layer
    facts = facts_of(layer.bound)
    options = dataclasses.replace(layer.loop_options, go_backwards=False)
    return DirectionFacts(
        plan=call.plan,
        cell=facts,
        units=tree.flatten(layer.bound.sizes)[0].dims[0],
        options=dataclasses.astuple(options),
        goes_backwards=layer.go_backwards,
        starts_from_zeros=(
            given["initial_state"] is None and not layer.stateful and is_keras_cell(layer.cell)
        ),
        drops=bool(given["training"] and facts.kernel.dropout),
        calls_aside=(
            layer.activity_regularizer is not None
            or layer.dtype_policy.name != wrapper.dtype_policy.name
            or type(layer).call is not RNN.call
        ),
    )
