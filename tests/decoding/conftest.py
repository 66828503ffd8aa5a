"""Steps whose every number NumPy can follow."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from keras import ops


class Language:
    """Scores that depend on everything said so far, in keras.ops and in NumPy.

    h' = tanh(h A + E[id]);  scores = 3 h' B
    """

    def __init__(self, count: int, units: int = 5, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.count, self.units = count, units
        self.a, self.e, self.b = (
            rng.normal(size=shape).astype("float32")
            for shape in ((units, units), (count, units), (units, count))
        )
        self.calls = 0

    def step(self, ids: Any, states: Any) -> Any:
        self.calls += 1
        h = ops.tanh(ops.matmul(states["h"], self.a) + ops.take(self.e, ids, axis=0))
        return 3.0 * ops.matmul(h, self.b), {"h": h}

    def first(self, batch: int, seed: int = 1) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {"h": rng.normal(size=(batch, self.units)).astype("float32")}

    def after(self, h: np.ndarray, said: int) -> tuple[np.ndarray, np.ndarray]:
        """In float64: the log-probabilities after `said`, and the new state, for one row."""
        h = np.tanh(h.astype("float64") @ self.a + self.e[said])
        scores = 3.0 * h @ self.b
        top = scores.max()
        return scores - top - np.log(np.exp(scores - top).sum()), h

    def everything(
        self, h: np.ndarray, start: int, length: int, end: Collection[int]
    ) -> dict[tuple[int, ...], float]:
        """The log-probability of every sequence there is."""
        found = {}
        for ids in itertools.product(range(self.count), repeat=length):
            last = next((k for k, token in enumerate(ids) if token in end), length - 1)
            said = ids[: last + 1]
            if said in found:
                continue
            total, state, last = 0.0, h, start
            for token in said:
                gains, state = self.after(state, last)
                total, last = total + gains[token], token
            found[said] = total
        return found


@pytest.fixture
def language() -> Language:
    return Language(4)


@pytest.fixture
def languages() -> type[Language]:
    return Language
