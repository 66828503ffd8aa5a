"""What a loop over a cell promises, whatever the cell computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import tree

from kcells.structure import map_leaves
from kcells.testing.law import law
from kcells.testing.numbers import as_numpy, same
from kcells.testing.subject import BATCH, TIME, Run, Subject
from kcells.types import Structure

__all__ = ["MASK", "batch", "causality", "chunking", "loop", "mask"]

_WAYS: tuple[dict[str, Any], ...] = ({}, {"unroll": True})
MASK = np.array([[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 0]], bool)


@law("loop", "A layer gives what the cell gives step by step.")
def loop(subject: Subject) -> None:
    for options in _WAYS:
        run = subject.run(subject.layer(**options), subject.inputs)
        what = f"from the cell alone, in a layer with {options or 'its usual options'}"
        same(run.outputs, subject.expected.outputs, "outputs", what=what)
        same(run.states, subject.expected.states, "states", what=what)


@law("mask", "At an invalid step every state leaf keeps its value, and the output repeats.")
def mask(subject: Subject) -> None:
    run = subject.run(subject.layer(), subject.inputs, mask=MASK)
    for row, steps in enumerate(MASK):
        expected = _without_masked_steps(subject, row, steps)
        what = f"in row {row} of the batch, under the mask {steps.astype(int).tolist()}"
        same(Subject.rows(run.states, [row]), expected.states, "states", what=what)
        same(Subject.rows(run.outputs, [row]), expected.outputs, "outputs", what=what)


def _without_masked_steps(subject: Subject, row: int, steps: np.ndarray) -> Run:
    """One sample over its valid steps alone, each output where it is last valid."""
    (valid,) = np.nonzero(steps)
    inputs = map_leaves(lambda leaf, _: leaf[row : row + 1, valid], subject.inputs)
    run = subject.stepped(inputs)
    # How many valid steps there were up to each step; before the first one outputs are zero.
    count = np.cumsum(steps)

    def spread(leaf: np.ndarray) -> np.ndarray:
        zero = np.zeros_like(leaf[:, :1])
        return np.concatenate([zero, leaf], axis=1)[:, count]

    return Run(tree.map_structure(spread, run.outputs), run.states)


@law("batch", "Samples of a batch do not see each other: a permuted batch gives permuted results.")
def batch(subject: Subject) -> None:
    layer = subject.layer()
    order = np.roll(np.arange(BATCH), 1)
    run = subject.run(layer, Subject.rows(subject.inputs, order))
    for root, found, expected in _pairs(run, subject.expected):
        same(found, Subject.rows(expected, order), root, what="in a permuted batch")
    one = slice(0, 1)
    alone = subject.run(layer, Subject.rows(subject.inputs, one))
    for root, found, expected in _pairs(alone, subject.expected):
        same(found, Subject.rows(expected, one), root, what="in a batch of one")
    first, second = (subject.run(layer, subject.inputs, training=True) for _ in range(2))
    if not _agree(first, second):
        return  # What is random in training is drawn for a batch of this size.
    alone = subject.run(layer, Subject.rows(subject.inputs, one), training=True)
    for root, found, expected in _pairs(alone, first):
        same(found, Subject.rows(expected, one), root, what="in a batch of one, in training")


def _agree(first: Run, second: Run) -> bool:
    pairs = zip(*map(tree.flatten, (first, second)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@law("causality", "A change at time t changes nothing before t.")
def causality(subject: Subject) -> None:
    for options in _WAYS:
        layer = subject.layer(**options)
        for t in (1, TIME - 1):
            changed = map_leaves(lambda leaf, _: leaf.copy(), subject.inputs)
            pairs = zip(*map(tree.flatten, (changed, subject.other_inputs)), strict=True)
            for leaf, other in pairs:
                leaf[:, t:] = other[:, t:]
            run = subject.run(layer, changed)
            before = slice(0, t)
            same(
                Subject.slice(run.outputs, before),
                Subject.slice(subject.expected.outputs, before),
                "outputs",
                what=f"before step {t}, when the inputs change from that step on",
            )


@law("chunking", "A sequence in two pieces, the state handed over, equals one run.")
def chunking(subject: Subject) -> None:
    layer = subject.layer()
    cut = TIME // 2
    first = subject.run(layer, Subject.slice(subject.inputs, slice(0, cut)))
    second = subject.run(layer, Subject.slice(subject.inputs, slice(cut, None)), first.states)
    same(second.states, subject.expected.states, "states", what="after two pieces")
    joined = tree.map_structure(
        lambda *parts: np.concatenate(parts, axis=1), first.outputs, second.outputs
    )
    same(joined, subject.expected.outputs, "outputs", what="in two pieces")


def _pairs(found: Run, expected: Run) -> list[tuple[str, Structure, Structure]]:
    return [
        (root, as_numpy(a), b)
        for root, a, b in zip(("outputs", "states"), found, expected, strict=True)
    ]
