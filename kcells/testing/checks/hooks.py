"""The laws of the hooks by which a cell lets itself be run fast."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops, tree

from kcells.cells.dropout import sequence_masks
from kcells.cells.linear import multiply
from kcells.layers.rnn import RNN
from kcells.structure import map_leaves
from kcells.testing.law import NotApplicableError, law
from kcells.testing.numbers import as_numpy, same
from kcells.testing.subject import BATCH, TIME, Subject
from kcells.types import Structure

__all__ = ["linear_recurrence", "project_inputs"]


@law(
    "project_inputs",
    "call(x, s) == step(project_inputs(x), s), with or without a leading time axis.",
)
def project_inputs(subject: Subject) -> None:
    layer = subject.layer()
    bound = layer._bound
    if not bound.hoists:
        raise NotApplicableError("the cell does not split its step")
    for training in (False, True):
        with sequence_masks(layer.cell, BATCH, training):
            whole = bound.project(_time_first(subject.inputs), training)
            state = bound.initial_state(BATCH)
            for t in range(TIME):
                x = Subject.step(subject.inputs, t)
                with _same_seeds(layer):
                    expected = bound(x, state, training=training)
                with _same_seeds(layer):
                    single = bound.step(bound.project(x, training), state, training)
                _both(single, expected, f"at step {t}, training={training}")
                several = bound.step(_entry(whole, t), state, training)
                what = f"at step {t} of inputs with a time axis, training={training}"
                _both(several, expected, what)
                state = expected[1]


@contextlib.contextmanager
def _same_seeds(layer: RNN) -> Iterator[None]:
    """Puts back afterwards what a step draws from, for the next one to draw the same."""
    seeds = [(v, ops.convert_to_numpy(v)) for v in layer.variables if not v.trainable]
    yield
    for variable, value in seeds:
        variable.assign(value)


def _both(actual: Any, expected: Any, what: str) -> None:
    for root, found, wanted in zip(("outputs", "states"), actual, expected, strict=True):
        same(found, wanted, root, what=what)


def _entry(structure: Structure, t: int) -> Structure:
    return map_leaves(lambda leaf, _: leaf[t], structure)


def _time_first(inputs: Structure) -> Structure:
    return map_leaves(lambda leaf, _: ops.convert_to_tensor(np.swapaxes(leaf, 0, 1)), inputs)


@law(
    "linear_recurrence",
    "linear_recurrence, for all steps at once, gives what the cell gives step by step.",
)
def linear_recurrence(subject: Subject) -> None:
    layer = subject.layer()
    if not layer._bound.is_linear:
        raise NotApplicableError("the cell declares no linear_recurrence")
    states, outputs = _at_once(layer, subject)
    expected = subject.stepped(subject.inputs, subject.states)
    same(_batch_first(outputs), expected.outputs, "outputs", what="from the read-out")
    same(_entry(states, -1), expected.states, "states", what="after all steps")


def _at_once(layer: RNN, subject: Subject) -> tuple[Structure, Structure]:
    """States and outputs `(time, batch, ...)`, the recurrence itself in Python."""
    bound = layer._bound
    projected = bound.project(_time_first(subject.inputs), training=False)
    recurrence = bound.linear_recurrence(projected)
    sequences = []
    flat = map(tree.flatten, (recurrence.a, recurrence.b, subject.states))
    for a, b, h in zip(*flat, strict=True):
        h = ops.convert_to_tensor(h, bound.compute_dtype)
        a, b = (ops.broadcast_to(x, (TIME, *h.shape)) for x in (a, b))
        states = []
        for t in range(TIME):
            h = multiply(recurrence.product, a[t], h) + b[t]
            states.append(h)
        sequences.append(ops.stack(states))
    states = tree.pack_sequence_as(bound.sizes, sequences)
    return states, recurrence.read_out(states, projected)


def _batch_first(outputs: Structure) -> Structure:
    return map_leaves(lambda leaf, _: np.swapaxes(leaf, 0, 1), as_numpy(outputs))
