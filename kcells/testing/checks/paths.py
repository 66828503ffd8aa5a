"""Every way of running the cell computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from kcells import stock
from kcells.cells.equivalence import builtin_arguments
from kcells.layers.rnn import RNN
from kcells.testing.checks.sequences import MASK
from kcells.testing.differentiate import Differentiated
from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.numbers import FORWARD, GRADIENT, same
from kcells.testing.subject import Gradients, Subject

__all__ = ["equivalent", "paths"]

_PLAIN: dict[str, Any] = {"dispatch": "never", "compile": "never", "parallel": "never"}
_OTHERS: tuple[dict[str, Any], ...] = (
    {**_PLAIN, "unroll": True},
    {"dispatch": "auto"},
    {"checkpoint": 2},
)
_BUILTIN_CELLS: dict[str, Any] = {
    "lstm": stock.LSTMCell,
    "gru": stock.GRUCell,
    "simple_rnn": stock.SimpleRNNCell,
}


@law("paths", "Results and gradients are the same however the loop is run.")
def paths(subject: Subject) -> None:
    expected = subject.gradients_of(subject.layer(**_PLAIN))
    _same(subject.gradients, expected, "between the plain loop and the usual options")
    for options in _OTHERS:
        found = subject.gradients_of(subject.layer(**options))
        _same(found, expected, f"between the plain loop and {options}")


def _same(found: Gradients, expected: Gradients, what: str) -> None:
    for name, result in found.results.items():
        same(result, expected.results[name], name, FORWARD, what)
    for name, gradient in found.gradients.items():
        same(gradient, expected.gradients[name], f"gradient of {name}", GRADIENT, what)


@law(
    "equivalent",
    "The built-in that equivalent() names has the same outputs, states and gradients.",
)
def equivalent(subject: Subject) -> None:
    layer = subject.layer(dispatch="auto")
    declared = layer._bound.equivalence
    if declared.builtin is None:
        raise NotApplicableError("the cell declares no equivalent")
    if not declared.holds:
        obstacles = ", ".join(r.detail or r.condition for r in declared.conditions if not r.holds)
        raise NotApplicableError(f"no {declared.builtin} in this configuration: {obstacles}")
    builtin = _builtin(layer)
    builtin.build(subject.inputs.shape)
    _check_weights(layer, builtin)

    def call(leaves: Sequence[Any]) -> list[Any]:
        inputs, states = subject.packed(leaves)
        weights = declared.weights() if declared.weights else layer.trainable_weights
        values = map(keras.ops.convert_to_tensor, weights)
        mapping = zip(builtin.trainable_variables, values, strict=True)
        states = layer._bound.in_builtin_order(states)
        with keras.StatelessScope(list(mapping)):
            outputs, *after = builtin(inputs, initial_state=states)
        return [outputs, *tree.flatten(layer._bound.in_cell_order(after))]

    found = subject.named(layer, Differentiated(layer, call))
    expected = subject.gradients
    what = f"between the cell and the {declared.builtin} that it declares"
    _same(found, expected, what)
    # Where the machine has a kernel for the built-in, `dispatch="auto"` runs it.
    masked, plain = (
        Subject.run(each, subject.inputs, subject.states, mask=MASK)
        for each in (layer, subject.layer(**_PLAIN))
    )
    same(masked.outputs, plain.outputs, "outputs", what=f"{what}, under a mask")
    same(masked.states, plain.states, "states", what=f"{what}, under a mask")


def _check_weights(layer: RNN, builtin: RNN) -> None:
    """Raises `ViolationError` unless the declared weights have the shapes of the built-in's."""
    declared = layer._bound.equivalence
    given = declared.weights() if declared.weights else layer.trainable_weights
    found = [tuple(weight.shape) for weight in given]
    needed = [tuple(weight.shape) for weight in builtin.trainable_weights]
    if found != needed:
        names = ", ".join(weight.name for weight in builtin.trainable_weights)
        raise ViolationError(
            f"the weights for the {declared.builtin} have the shapes {found}; needed are {needed},"
            f" for {names}. Let equivalent() declare weights=...",
            "weights",
        )


def _builtin(layer: RNN) -> RNN:
    """A layer around the built-in cell, whose weights are to be set."""
    declared = layer._bound.equivalence
    cell_class = _BUILTIN_CELLS[layer._bound.builtin]
    known = cell_class(1).get_config().keys()
    arguments = builtin_arguments(layer.cell, declared).items()
    cell = cell_class(**{key: value for key, value in arguments if key in known and key != "name"})
    return RNN(cell, return_sequences=True, return_state=True)
