"""`explain`: how a layer runs its loop, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from kcells._keras_private import sublayers
from kcells.engine.plan import Path, Reason
from kcells.errors import ArgumentError, table
from kcells.layers.rnn import RNN
from kcells.types import Structure

__all__ = ["Explanation", "Explanations", "explain"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """How one recurrent layer runs.

    Attributes:
        layer: the layer's name.
        cell: the name of the cell's class.
        path: `"loop"`, `"unrolled"`, `"fused"` or `"parallel"`.
        backend: the Keras backend.
        reasons: every condition that was looked at.

    Examples:

    >>> import kcells
    >>> explanation = kcells.explain(kcells.build("gru", 8, unroll=True))
    >>> explanation.path, explanation.reasons[0].condition, explanation.reasons[0].holds
    ('unrolled', 'unroll is asked for', True)
    """

    layer: str
    cell: str
    path: Path
    backend: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        rows = [(("yes" if r.holds else "no"), r.condition, r.detail) for r in self.reasons]
        return (
            f'layer "{self.layer}" ({self.cell}): path {self.path}, backend {self.backend}\n'
            f"{table(rows)}"
        )


class Explanations(tuple[Explanation, ...]):
    """One `Explanation` a recurrent layer, in the order of the model.

    Examples:

    >>> import keras, kcells
    >>> model = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 8)])
    >>> [explanation.path for explanation in kcells.explain(model)]
    ['loop']
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no recurrent layer of kcells in this model"


def explain(
    layer_or_model: keras.layers.Layer, inputs: Structure = None
) -> Explanation | Explanations:
    """Says which path a layer takes, with the reasons.

    Args:
        layer_or_model: a `kcells.RNN`, or anything that contains some.
        inputs: sequences to explain the call for; not needed in this release, where
            the path does not depend on them.

    Returns:
        An `Explanation` for a `kcells.RNN`, else one for each in it. Both print as tables.

    Raises:
        ArgumentError: if it is no layer.

    Examples:

    >>> import kcells
    >>> kcells.explain(kcells.build("gru", 8)).path
    'loop'
    """
    if isinstance(layer_or_model, RNN):
        return _explain_layer(layer_or_model)
    if not isinstance(layer_or_model, keras.layers.Layer):
        raise ArgumentError(
            f"explain takes a layer or a model; received {type(layer_or_model).__name__}."
        )
    return Explanations(_explain_layer(layer) for layer in _recurrent_layers(layer_or_model))


def _recurrent_layers(layer: Any) -> Iterator[RNN]:
    return (found for found in sublayers(layer) if isinstance(found, RNN))


def _explain_layer(layer: RNN) -> Explanation:
    plan = layer.plan
    return Explanation(
        layer.name, type(layer.cell).__name__, plan.path, keras.backend.backend(), plan.reasons
    )
