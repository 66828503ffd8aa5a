"""Which built-in layer of Keras computes the same function as a cell.

A cell says it with a method `equivalent`, which returns an `Equivalence`. Keras' own
cells are declared here. Nothing is believed because it is declared: the law `equivalent` of
`kcells.testing` compares outputs, states and gradients of both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from keras import activations, ops

from kcells import stock
from kcells.cells.splits import draws_a_mask_a_gate
from kcells.errors import CellError
from kcells.reasons import Reason
from kcells.types import Tensor

__all__ = [
    "BuiltinName",
    "Equivalence",
    "KernelFacts",
    "builtin_arguments",
    "equivalence_of",
    "is_keras_cell",
    "kernel_facts",
]

BuiltinName: TypeAlias = Literal["lstm", "gru", "simple_rnn"]

_KERAS_CELLS: dict[type[Any], BuiltinName] = {
    stock.LSTMCell: "lstm",
    stock.GRUCell: "gru",
    stock.SimpleRNNCell: "simple_rnn",
}
_NAMED_ACTIVATIONS = {
    "tanh": (activations.tanh, ops.tanh),
    "sigmoid": (activations.sigmoid, ops.sigmoid),
}


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """The built-in layer that computes the same as a cell, or the reasons why there is none.

    A cell returns one from its method `equivalent()`. The law: wherever every condition
    holds, the built-in layer with `arguments` and the weights that `weights` gives has
    the same outputs, states and gradients as the cell in a loop, under any mask.

    Attributes:
        builtin: `"lstm"`, `"gru"` or `"simple_rnn"`; None if no configuration of the cell
            is one of these.
        conditions: what has to hold for the configuration at hand, each with its answer.
        arguments: for the constructor of the built-in layer. What is left out has
            Keras' default.
        weights: a function that computes the built-in's weights (kernel, recurrent kernel,
            bias if there is one) from those of the built cell, with operations that have
            gradients. None if the cell has the very weights of the built-in: the same
            shapes, order, blocks, initializers, regularizers and constraints, so that
            the built-in layer itself may stand in for the cell.
        states: where the built-in's states are in the cell's, as positions; None if the
            order is the same. An LSTM has `(h, c)`.

    Examples:

    A cell that is a GRU if it has no attention:

    >>> import kcells
    >>> equivalence = kcells.Equivalence(
    ...     "gru",
    ...     conditions=[kcells.Reason("there is no attention", True, "heads=0")],
    ...     arguments={"units": 8, "reset_after": True},
    ... )
    >>> equivalence.holds
    True
    >>> kcells.Equivalence(None, [kcells.Reason("gates are independent", False)]).holds
    False
    """

    builtin: BuiltinName | None
    conditions: Sequence[Reason] = ()
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: Callable[[], Sequence[Tensor]] | None = None
    states: Sequence[int] | None = None

    @property
    def holds(self) -> bool:
        """Whether the built-in computes the same in this configuration."""
        return self.builtin is not None and all(reason.holds for reason in self.conditions)

    @property
    def is_identity(self) -> bool:
        """Whether the built-in has the same weights and states, in the same order."""
        return self.weights is None and self.states is None


def equivalence_of(cell: Any) -> Equivalence:
    """What `cell` declares; an `Equivalence` that does not hold if it declares nothing.

    Raises:
        CellError: if `cell.equivalent()` returns anything else.
    """
    if is_keras_cell(cell):
        one_mask = Reason(
            "one dropout mask serves all gates",
            not draws_a_mask_a_gate(cell),
            f"implementation={getattr(cell, 'implementation', 2)}, dropout={cell.dropout}",
        )
        conditions = [one_mask]
        if cell.activity_regularizer is not None:
            conditions.append(Reason("a step adds no loss", False, "activity_regularizer"))
        return Equivalence(_KERAS_CELLS[type(cell)], conditions)
    declare = getattr(cell, "equivalent", None)
    declared = declare() if callable(declare) else None
    if declared is None:
        return Equivalence(None)
    if not isinstance(declared, Equivalence):
        raise CellError(
            f"{type(cell).__name__}.equivalent() returned {declared!r}.\n"
            "  It has to return a kcells.Equivalence, or None where no built-in is the same."
        )
    return declared


def builtin_arguments(cell: Any, declared: Equivalence) -> dict[str, Any]:
    """The arguments for the built-in layer that `declared` names."""
    if not is_keras_cell(cell):
        return dict(declared.arguments)
    # Not before somebody asks: a cell may hold functions that no configuration can.
    return {k: v for k, v in cell.get_config().items() if k not in ("name", "dtype", "trainable")}


def is_keras_cell(cell: Any) -> bool:
    """Whether `cell` is one of Keras' own; a subclass may compute something else."""
    return type(cell) in _KERAS_CELLS


@dataclasses.dataclass(frozen=True)
class KernelFacts:
    """What fused kernels ask of the arguments of an LSTM or GRU.

    Attributes:
        activation, recurrent_activation: their names; None if they have none.
        use_bias, reset_after: the arguments of these names.
        dropout, recurrent_dropout: the rates.
    """

    activation: str | None = "tanh"
    recurrent_activation: str | None = "sigmoid"
    use_bias: bool = True
    reset_after: bool = True
    dropout: float = 0.0
    recurrent_dropout: float = 0.0


def kernel_facts(cell: Any, declared: Equivalence) -> KernelFacts:
    """What the kernels ask of a cell that declares a built-in.

    Keras' own cells are asked anew each time: their attributes may be set.

    Examples:

    >>> import keras
    >>> cell = keras.layers.GRUCell(8, activation="relu")
    >>> kernel_facts(cell, equivalence_of(cell)).activation
    'relu'
    """
    names = [field.name for field in dataclasses.fields(KernelFacts)]
    if is_keras_cell(cell):
        found = {name: getattr(cell, name) for name in names if hasattr(cell, name)}
    else:
        found = {name: declared.arguments[name] for name in names if name in declared.arguments}
    for key in ("activation", "recurrent_activation"):
        if key in found:
            found[key] = _activation_name(found[key])
    return KernelFacts(**found)


def _activation_name(activation: Any) -> str | None:
    function = activation if callable(activation) else activations.get(activation)
    for name, functions in _NAMED_ACTIVATIONS.items():
        if function in functions:
            return name
    return getattr(function, "__name__", None) or type(function).__name__
