"""`explain`: how a layer runs its loop, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, overload

import keras
from keras import ops, tree

from kcells._keras_private import get_mask, sublayers
from kcells.engine.call import Call, plan_for
from kcells.engine.facts import sized
from kcells.engine.kernels import KernelName
from kcells.engine.masks import combine, kind_of
from kcells.engine.options import Options
from kcells.engine.plan import Path, Plan
from kcells.errors import ArgumentError, table
from kcells.layers.calls import calls_noted
from kcells.layers.rnn import RNN
from kcells.reasons import Reason
from kcells.structure import map_leaves, plain
from kcells.types import Structure, Tensor

__all__ = ["Explanation", "Explanations", "explain"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """How one recurrent layer runs.

    Attributes:
        layer: the layer's name.
        cell: the name of the cell's class.
        path: `"fused"` if a built-in LSTM or GRU stands in for the cell, else `"loop"` or
            `"unrolled"`.
        kernel: what turns the crank: `"cudnn"`, `"native"` (the backend's own code for an
            LSTM or GRU), `"loop"` or `"unrolled"` (single steps).
        backend: the Keras backend.
        device: `"gpu"` or `"cpu"`.
        reasons: every condition that was looked at.

    Examples:

    >>> import kcells
    >>> explanation = kcells.explain(kcells.build("gru", 8, unroll=True))
    >>> explanation.path, [r.condition for r in explanation.reasons if not r.holds][0]
    ('unrolled', 'the loop is not unrolled')
    """

    layer: str
    cell: str
    path: Path
    kernel: KernelName
    backend: str
    device: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        rows = [(("yes" if r.holds else "no"), r.condition, r.detail) for r in self.reasons]
        return (
            f'layer "{self.layer}" ({self.cell}): path {self.path}, kernel {self.kernel},'
            f" {self.backend} on {self.device}\n"
            f"{table(rows)}"
        )


class Explanations(tuple[Explanation, ...]):
    """One `Explanation` a recurrent layer, in the order of the model.

    Examples:

    >>> import keras, kcells
    >>> model = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 8)])
    >>> [explanation.path for explanation in kcells.explain(model)]
    ['fused']
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no recurrent layer of kcells in this model"


@overload
def explain(layer_or_model: RNN, inputs: Structure = None) -> Explanation: ...


@overload
def explain(
    layer_or_model: keras.layers.Layer, inputs: Structure = None
) -> Explanation | Explanations: ...


def explain(
    layer_or_model: keras.layers.Layer, inputs: Structure = None
) -> Explanation | Explanations:
    """Says which path a layer takes and which kernel runs it, with the reasons.

    Args:
        layer_or_model: a `kcells.RNN`, or anything that contains some.
        inputs: sequences to explain the call for: the device, the mask that arrives. A
            model is run on them, without training; what stateful layers remember stays.

    Returns:
        An `Explanation` for a `kcells.RNN`, else one for each in it. Both print as tables.

    Raises:
        ArgumentError: if it is no layer.

    Examples:

    >>> import kcells
    >>> explanation = kcells.explain(kcells.build("gru", 8))
    >>> explanation.path
    'fused'
    >>> kcells.explain(kcells.build("gru", 8, dispatch="never")).path
    'loop'
    """
    if isinstance(layer_or_model, RNN):
        return _explain_layer(layer_or_model, inputs)
    if not isinstance(layer_or_model, keras.layers.Layer):
        raise ArgumentError(
            f"explain takes a layer or a model; received {type(layer_or_model).__name__}."
        )
    layers = list(_recurrent_layers(layer_or_model))
    if inputs is None:
        return Explanations(_explanation(layer, layer._plan) for layer in layers)
    return Explanations(map(_explain_call, _calls(layer_or_model, layers, inputs)))


def _recurrent_layers(layer: Any) -> Iterator[RNN]:
    return (found for found in sublayers(layer) if isinstance(found, RNN))


def _explain_layer(layer: RNN, inputs: Structure) -> Explanation:
    if inputs is None:
        return _explanation(layer, layer._plan)
    inputs = plain(inputs)
    mask = combine(map_leaves(lambda leaf, _: get_mask(leaf), inputs), inputs, layer.name)
    facts = sized(dataclasses.replace(layer._met, mask=kind_of(mask)), inputs)
    return _explanation(layer, plan_for(layer._bound, Options.of(layer), inputs, facts))


def _explain_call(call: Call) -> Explanation:
    layer = call.cell.owner
    given = [call.sequences, call.states, call.mask]
    facts = dataclasses.replace(
        layer._met,
        mask=kind_of(call.mask),
        takes_constants=call.constants is not None,
        resets=call.reset is not None,
    )
    return _explanation(
        layer, plan_for(call.cell, call.options, given, sized(facts, call.sequences))
    )


def _calls(model: Any, layers: list[RNN], inputs: Structure) -> list[Call]:
    if not all(layer.built for layer in layers):
        model(inputs, training=False)
        for layer in layers:
            layer.reset_state()
    stateful = [layer for layer in layers if layer.states is not None]
    remembered = [tree.map_structure(_value, layer.states) for layer in stateful]
    try:
        with calls_noted() as calls:
            model(inputs, training=False)
    finally:
        for layer, states in zip(stateful, remembered, strict=True):
            layer.reset_state(states)
    return calls


def _value(variable: Any) -> Tensor:
    return ops.copy(ops.convert_to_tensor(variable))


def _explanation(layer: RNN, plan: Plan) -> Explanation:
    return Explanation(
        layer.name,
        type(layer.cell).__name__,
        plan.path,
        plan.kernel,
        plan.machine.backend,
        plan.machine.device,
        plan.reasons,
    )
