"""Six problems on which recurrent cells are usually told apart.

Three are made up or cut from a text, three are small data sets that scikit-learn and sktime
carry with them; nothing is downloaded. Every problem has a held-out set of its own; of the 32768
sequences of `copy` a training run sees most, those of the held-out set too.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

__all__ = ["PROBLEMS", "Examples", "Problem"]

Examples = tuple[np.ndarray, np.ndarray]
"""Inputs and targets."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the examples of a problem come from.

    Attributes:
        draw: from a generator of random numbers and a count to that many training examples.
        held_out: other examples, as far as there are enough.
    """

    draw: Callable[[np.random.Generator, int], Examples]
    held_out: Examples


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem, and how long a model may learn on it.

    Attributes:
        name: what it is called in files and options.
        title: what it is called in pictures.
        measure: of the held-out set: `"error"` (mean squared), `"accuracy"`, or `"bits"`
            (cross-entropy a symbol).
        load: gives the data; loaded once a process.
        outputs: how many numbers the model answers with, at every step that it answers.
        answers: how many of the last steps it answers at; None for one answer at the end.
        vocabulary: the number of symbols, where inputs are symbols.
        masked: whether steps that are all zeros are padding.
        budget: the number of parameters of a model.
        rate: the learning rate of Adam.
        batch: sequences a step.
        steps: training steps between two points of a learning curve.
        points: points of a learning curve.
        enough: the share of the way from chance to perfect at which a problem is solved, and
            a run ends before the last point.
    """

    name: str
    title: str
    measure: str
    load: Callable[[], Data]
    outputs: int
    answers: int | None = None
    vocabulary: int | None = None
    masked: bool = False
    budget: int = 5000
    rate: float = 5e-3
    batch: int = 32
    steps: int = 50
    points: int = 20
    enough: float = math.inf

    @functools.cached_property
    def data(self) -> Data:
        """The data, which stay in memory."""
        return self.load()

    @functools.cached_property
    def chance(self) -> float:
        """What the best constant answer scores on the held-out set."""
        targets = self.data.held_out[1]
        if self.measure == "error":
            return float(np.var(targets))
        shares = np.bincount(targets.ravel().astype(int)) / targets.size
        if self.measure == "accuracy":
            return float(shares.max())
        shares = shares[shares > 0]
        return float(-(shares * np.log2(shares)).sum())

    @property
    def best(self) -> float:
        """What no answer can be better than."""
        return 1.0 if self.measure == "accuracy" else 0.0

    def above_chance(self, score: float, chance: float | None = None) -> float:
        """The share of the way from chance to perfect; below 0 if worse than chance.

        Args:
            score: what is asked about.
            chance: that of the data it was reached on. Default: None, for those of today.
        """
        chance = self.chance if chance is None else chance
        return (score - chance) / (self.best - chance)

    def score(self, logs: dict[str, float]) -> float:
        """The measure, from what a model's `evaluate` returns."""
        if self.measure == "accuracy":
            return logs["accuracy"]
        return logs["loss"] / (math.log(2) if self.measure == "bits" else 1.0)


def _from(inputs: np.ndarray, targets: np.ndarray, held_out: Examples) -> Data:
    """Training examples are drawn from a table, with repetition."""

    def draw(rng: np.random.Generator, count: int) -> Examples:
        chosen = rng.integers(len(inputs), size=count)
        return inputs[chosen], targets[chosen]

    return Data(draw, held_out)


def _made(draw: Callable[[np.random.Generator, int], Examples]) -> Data:
    """Every example is new; the generators of training runs have other seeds."""
    return Data(draw, draw(np.random.default_rng(19970101), 500))


def _adding(length: int) -> Data:
    """Two of many numbers are marked, one in each half; their sum is asked for."""

    def draw(rng: np.random.Generator, count: int) -> Examples:
        numbers = rng.random((count, length), dtype="float32")
        marks = np.zeros_like(numbers)
        rows, half = np.arange(count), length // 2
        marks[rows, rng.integers(half, size=count)] = 1
        marks[rows, rng.integers(half, length, size=count)] = 1
        return np.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdims=True)

    return _made(draw)


def _copying(symbols: int, kept: int, delay: int) -> Data:
    """Symbols, a pause, a sign; then the symbols are asked for, in their order."""
    blank, sign = symbols, symbols + 1

    def draw(rng: np.random.Generator, count: int) -> Examples:
        asked = rng.integers(symbols, size=(count, kept), dtype="int32")
        inputs = np.full((count, kept + delay + kept), blank, "int32")
        inputs[:, :kept] = asked
        inputs[:, -kept] = sign
        return inputs, asked

    return _made(draw)


def _digits(shape: tuple[int, int]) -> Data:
    """scikit-learn's handwritten digits, 8 by 8, as a sequence of this shape."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32").reshape(-1, *shape)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[450:], order[:450]
    return _from(images[train], labels[train], (images[test], labels[test]))


def _vowels() -> Data:
    """Which of nine men said a vowel, from 7 to 29 frames of 12 coefficients, padded."""
    from sktime.datasets import load_japanese_vowels

    def split(name: str) -> Examples:
        table, labels = load_japanese_vowels(split=name, return_type="pd-multiindex")
        padded = np.zeros((len(labels), 29, table.shape[1]), "float32")
        for position, (_, frames) in enumerate(table.groupby(level=0)):
            padded[position, : len(frames)] = frames.to_numpy()
        return padded, np.asarray(labels).astype(int) - 1

    return _from(*split("train"), split("test"))


def _characters(length: int) -> Data:
    """The next character of Python's own help texts; the last tenth is held out."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    known = {character: code for code, character in enumerate(sorted(set(text)))}
    codes = np.array([known[character] for character in text], "int32")
    border = len(codes) * 9 // 10

    def windows(codes: np.ndarray, starts: np.ndarray) -> Examples:
        found = codes[starts[:, None] + np.arange(length + 1)]
        return found[:, :-1], found[:, 1:]

    def draw(rng: np.random.Generator, count: int) -> Examples:
        return windows(codes, rng.integers(border - length, size=count))

    starts = np.arange(border, len(codes) - length - 1, length)
    return Data(draw, windows(codes, starts[:300]))


def _vocabulary() -> int:
    from pydoc_data.topics import topics

    return len(set("\n".join(topics.values())))


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("rows", "digits, a row a step", "accuracy", lambda: _digits((8, 8)), 10),
        Problem("vowels", "Japanese vowels", "accuracy", _vowels, 9, masked=True, points=10),
        Problem(
            "copy",
            "copy 5 of 8 symbols after 10 steps",
            "accuracy",
            lambda: _copying(8, 5, 10),
            8,
            answers=5,
            vocabulary=10,
            steps=75,
        ),
        Problem(
            "adding",
            "adding problem, 200 steps",
            "error",
            lambda: _adding(200),
            1,
            budget=2500,
            steps=100,
            points=40,
            enough=0.99,
        ),
        Problem("pixels", "digits, a pixel a step", "accuracy", lambda: _digits((64, 1)), 10),
        Problem(
            "characters",
            "next character of a text",
            "bits",
            lambda: _characters(64),
            _vocabulary(),
            answers=64,
            vocabulary=_vocabulary(),
            budget=20000,
            points=10,
        ),
    )
}
