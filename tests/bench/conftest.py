"""Rows that were never measured, and sides that cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

from kcells.bench import campaign
from kcells.bench.rows import Row
from kcells.bench.sides import OURS, Side
from kcells.bench.store import Results


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """A row with figures, but for what the test says."""

    def make(**facts: Any) -> Row:
        common = {
            "backend": keras.backend.backend(),
            "cell": "lstm",
            "size": "8x200x32x64",
            "workload": "train",
            "side": "stock",
            "ours": 1.0,
            "other": 2.0,
            "ratio": 0.5,
            "low": 0.4,
            "high": 0.6,
            "rounds": 3,
            "date": "2026-01-01",
            "device": "cpu",
        }
        return Row(**{**common, **facts})

    return make


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for all sides; lists what was made, as "cell size workload side"."""
    made: list[str] = []

    def side(name: str) -> Side:
        def step(case: Any, workload: str) -> Callable[[], object]:
            made.append(f"{case.name} {case.size} {workload} {name}")
            return lambda: None

        return Side(name, step)

    sides = {OURS: side(OURS), "stock": side("stock"), "floor": side("floor")}
    monkeypatch.setattr(
        campaign,
        "chosen_sides",
        lambda cell, workload, more: [] if workload == "layer" else list(sides.values()),
    )
    return made


@pytest.fixture
def results(tmp_path: Any) -> Results:
    """An empty file."""
    return Results(tmp_path / "results.json")
