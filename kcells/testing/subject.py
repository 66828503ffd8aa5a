"""`Subject`: a cell in one case, with weights and sequences to run it on.

Every cell that a subject makes has the same weights: those of the first one, each moved a
little, so that a bias that starts at zero takes part. What several laws look at is computed
once. States that a sequence starts from come out of the cell itself, since not every number
is a state.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops, tree

from kcells._keras_private import float64_stays_float64
from kcells.cells.card import Case
from kcells.cells.dropout import sequence_masks
from kcells.cells.signature import needs
from kcells.layers.rnn import RNN
from kcells.structure import leaves_with_paths, map_leaves
from kcells.testing import backends
from kcells.testing.differentiate import Differentiated
from kcells.testing.law import NotApplicableError
from kcells.testing.numbers import as_numpy
from kcells.testing.target import Target, policy
from kcells.types import Structure

__all__ = ["BATCH", "TIME", "Gradients", "Run", "Subject"]

BATCH, TIME = 3, 6
_MOVED_BY = 0.1


class Run(NamedTuple):
    """What a sequence gave: outputs `(batch, time, ...)`, and the states after it."""

    outputs: Structure
    states: Structure


class Gradients(NamedTuple):
    """Results and gradients of a layer, each under its name."""

    results: dict[str, Any]
    gradients: dict[str, Any]


class Subject:
    """See the module.

    Args:
        target: what is checked.
        case: the configuration.
        seed: of weights and sequences.
        recorded: files of `record`, made on other backends.
    """

    def __init__(
        self, target: Target, case: Case, seed: int = 0, recorded: Sequence[Any] = ()
    ) -> None:
        self.target, self.case, self.seed, self.recorded = target, case, seed, recorded

    def need_layer(self) -> None:
        """Ends a law that is about saving and copying, where the cell is no layer."""
        if not self.target.is_layer:
            raise NotApplicableError("the cell is no Keras layer: it cannot be saved or copied")

    # -- What goes in

    def rng(self) -> np.random.Generator:
        """Random numbers, the same for each who asks."""
        return np.random.default_rng(self.seed)

    @functools.cached_property
    def inputs(self) -> Structure:
        """A structure of `(batch, time, ...)` arrays."""
        return self.case.draw(self.rng(), BATCH, TIME)

    @functools.cached_property
    def other_inputs(self) -> Structure:
        """Sequences that have nothing to do with `inputs`."""
        return self.case.draw(np.random.default_rng(self.seed + 1), BATCH, TIME)

    @functools.cached_property
    def states(self) -> Structure:
        """States to start from: those after a few steps of other sequences."""
        return self.stepped(self.slice(self.other_inputs, slice(0, 2))).states

    @staticmethod
    def slice(inputs: Structure, steps: slice) -> Structure:
        """Some steps of a structure of sequences."""
        return map_leaves(lambda leaf, _: leaf[:, steps], inputs)

    @staticmethod
    def step(inputs: Structure, t: int) -> Structure:
        """One step of a structure of sequences, as tensors."""
        return map_leaves(lambda leaf, _: ops.convert_to_tensor(leaf[:, t]), inputs)

    @staticmethod
    def rows(structure: Structure, rows: Any) -> Structure:
        """Some samples of a structure."""
        return map_leaves(lambda leaf, _: leaf[rows], structure)

    # -- Cells and layers

    @functools.cached_property
    def weights(self) -> list[np.ndarray[Any, Any]]:
        """The weights of every cell that is made here."""
        keras.utils.set_random_seed(self.seed)
        rng = self.rng()
        cell = self._built(self.target.make(self.case)).cell
        # The weights of what is no layer are its owner's, and stay as they are.
        own = getattr(cell, "trainable_weights", []) if self.target.is_layer else []
        trained = {id(weight) for weight in own}

        def moved(weight: Any) -> Any:
            value = ops.convert_to_numpy(weight)
            if id(weight) not in trained:
                return value
            value = value + rng.normal(0.0, _MOVED_BY, value.shape).astype(value.dtype)
            if weight.constraint is None:
                return value
            return ops.convert_to_numpy(weight.constraint(ops.convert_to_tensor(value)))

        return [moved(weight) for weight in getattr(cell, "weights", [])]

    def layer(
        self, cell: Any = None, dtype: str = "float32", trained: bool = True, **options: Any
    ) -> RNN:
        """A built layer that returns sequences and states, around `cell` or a new one.

        Args:
            cell: the cell.
            dtype: the dtype policy of cell and layer.
            trained: whether it gets the weights of this subject, or keeps its own.
            **options: for the layer.
        """
        if cell is None:
            cell = self.target.make(self.case, dtype)
        layer = self._built(cell, dtype, **options)
        if trained:
            self.give_weights(layer.cell)
        return layer

    def give_weights(self, cell: Any) -> None:
        """Sets the weights of `cell` to those of this subject."""
        for weight, value in zip(getattr(cell, "weights", []), self.weights, strict=True):
            weight.assign(value)

    def _built(self, cell: Any, dtype: str = "float32", **options: Any) -> RNN:
        with policy(dtype):
            layer = RNN(cell, **{"return_sequences": True, "return_state": True, **options})
            if needs(layer.cell.call, "constants"):
                raise NotApplicableError("the cell needs constants, and the checks give none")
            layer.build(map_leaves(lambda leaf, _: leaf.shape, self.inputs))
        return layer

    # -- Running it

    @staticmethod
    def run(layer: RNN, inputs: Structure, states: Structure = None, **arguments: Any) -> Run:
        """Calls a layer that returns sequences and states."""
        given = None if states is None else map_leaves(lambda leaf, _: _tensor(leaf), states)
        outputs, *after = layer(inputs, initial_state=given, **arguments)
        flat = tree.flatten(after)
        return Run(as_numpy(outputs), as_numpy(tree.pack_sequence_as(layer._bound.sizes, flat)))

    def stepped(
        self, inputs: Structure, states: Structure = None, training: bool = False, cell: Any = None
    ) -> Run:
        """What the cell gives, called step by step from Python: no layer, no loop."""
        layer = self.layer(cell, trained=cell is None)
        bound = layer._bound
        first = tree.flatten(inputs)[0]
        batch, outputs = first.shape[0], []
        state = bound.initial_state(batch, training) if states is None else states
        with sequence_masks(layer.cell, batch, training):
            for t in range(first.shape[1]):
                x = self.step(inputs, t)
                state = map_leaves(lambda leaf, _: _tensor(leaf), state)
                output, state = bound(x, state, training=training)
                outputs.append(as_numpy(output))
        stacked = tree.map_structure(lambda *leaves: np.stack(leaves, axis=1), *outputs)
        return Run(stacked, as_numpy(state))

    @functools.cached_property
    def expected(self) -> Run:
        """What the cell gives for `inputs` from its own initial state, step by step."""
        return self.stepped(self.inputs)

    # -- Gradients

    def differentiated(self, layer: RNN) -> Differentiated:
        """A function of `leaves()` and cotangents."""

        def call(leaves: list[Any]) -> list[Any]:
            inputs, states = self.packed(leaves)
            return tree.flatten(layer(inputs, initial_state=states))  # type: ignore[no-any-return]

        return Differentiated(layer, call)

    def packed(self, leaves: Sequence[Any]) -> tuple[Structure, Structure]:
        """Inputs and initial states, of which `leaves` are the leaves."""
        count = len(tree.flatten(self.inputs))
        inputs = tree.pack_sequence_as(self.inputs, list(leaves[:count]))
        return inputs, tree.pack_sequence_as(self.states, list(leaves[count:]))

    def leaves(self, dtype: str = "float32") -> list[np.ndarray[Any, Any]]:
        """All inputs and initial states."""
        flat = tree.flatten(self.inputs) + tree.flatten(self.states)
        return [leaf.astype(dtype) if leaf.dtype.kind == "f" else leaf for leaf in flat]

    def cotangents(self, dtype: str = "float32") -> list[np.ndarray[Any, Any]]:
        """A factor for each number in outputs and states."""
        rng = self.rng()
        flat = tree.flatten(self.expected.outputs) + tree.flatten(self.expected.states)
        return [rng.normal(size=leaf.shape).astype(dtype) for leaf in flat]

    def gradients_of(self, layer: RNN) -> Gradients:
        """Results and gradients of a layer from `layer()`, under their names."""
        return self.named(layer, self.differentiated(layer))

    def named(
        self, layer: RNN, differentiate: Differentiated, leaves: Sequence[Any] | None = None
    ) -> Gradients:
        """What `differentiate` gives for `leaves`, or for `leaves()`, under their names."""
        given = self.leaves() if leaves is None else leaves
        results, gradients = differentiate(given, self.cotangents())
        return Gradients(
            dict(zip(self._result_names, results, strict=True)),
            dict(zip(self.source_names(layer), gradients, strict=True)),
        )

    @functools.cached_property
    def gradients(self) -> Gradients:
        """Results and gradients of a layer with its usual options."""
        return self.named(*self._usual)

    @functools.cached_property
    def gradients_from_start(self) -> Gradients:
        """The same from the cell's own initial state."""
        layer, differentiate = self._usual
        states = tree.flatten(layer._bound.initial_state(BATCH))
        leaves = tree.flatten(self.inputs) + [ops.convert_to_numpy(state) for state in states]
        return self.named(layer, differentiate, leaves)

    @functools.cached_property
    def _usual(self) -> tuple[RNN, Differentiated]:
        layer = self.layer()
        return layer, self.differentiated(layer)

    @functools.cached_property
    def _result_names(self) -> list[str]:
        return [*_paths(self.expected.outputs, "outputs"), *_paths(self.expected.states, "states")]

    def source_names(self, layer: RNN) -> list[str]:
        """The names of what a gradient is taken for, in order."""
        return [
            *weight_names(layer.trainable_variables),
            *_paths(self.inputs, "inputs", floats=True),
            *_paths(self.states, "initial states", floats=True),
        ]

    @contextlib.contextmanager
    def double_precision(self) -> Iterator[None]:
        """Everything in float64."""
        with backends.current().double_precision(), float64_stays_float64(), policy("float64"):
            yield


def weight_names(variables: Sequence[Any]) -> list[str]:
    """A name for each variable: its own, and which of them it is where several have it.

    Not its path: Keras numbers the layers in it, anew for every cell that is made. It also
    numbers what nobody has named.
    """
    names = [re.sub(r"^variable_\d+$", "variable", variable.name) for variable in variables]
    return [
        f"weight {name}"
        if names.count(name) == 1
        else f"weight {name} ({names[: position + 1].count(name)} of {names.count(name)})"
        for position, name in enumerate(names)
    ]


def _paths(structure: Structure, root: str, floats: bool = False) -> list[str]:
    named = leaves_with_paths(structure, root)
    return [path for path, leaf in named if not floats or leaf.dtype.kind == "f"]


def _tensor(leaf: Any) -> Any:
    """A leaf of a state, which the kit has as float64, in the dtype of computations."""
    if isinstance(leaf, np.ndarray) and leaf.dtype == "float64":
        return ops.convert_to_tensor(leaf, "float32")
    return leaf
