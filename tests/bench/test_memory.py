"""Memory: a process a side."""

from __future__ import annotations

import sys

import pytest

from kcells.bench import memory, memory_child
from kcells.bench.contest import Contest
from kcells.bench.sides import OURS, SIDES
from kcells.bench.sizes import LoopSize

TINY = Contest("simple_rnn", LoopSize(2, 3, 4, 5))
PAIR = [SIDES[OURS], SIDES["stock"]]


def rows_of(monkeypatch, ours, stock):
    found = {OURS: ours, "stock": stock}
    monkeypatch.setattr(memory, "in_a_process", lambda case, side: found[side])
    return {(row.workload, row.side): row for row in memory.measure_memory(TINY, PAIR)}


def test_two_figures_a_side(monkeypatch):
    ours, stock = {"memory": 50.0, "memory_grown": 3.0}, {"memory": 100.0, "memory_grown": 0.2}
    rows = rows_of(monkeypatch, ours, stock)
    assert list(rows) == [
        ("memory", OURS),
        ("memory", "stock"),
        ("memory_grown", OURS),
        ("memory_grown", "stock"),
    ]
    assert {row.unit for row in rows.values()} == {"MiB"}
    row = rows["memory", "stock"]
    assert (row.ours, row.other, row.ratio) == (50, 100, 0.5)
    # Too little to be divided by.
    row = rows["memory_grown", "stock"]
    assert (row.ours, row.other, row.ratio) == (3, 0.2, None)


def test_a_side_that_fails(monkeypatch):
    fine = {"memory": 50.0, "memory_grown": 3.0}
    rows = rows_of(monkeypatch, fine, {"error": "KeyError: 0"})
    assert rows["memory", "stock"].error == "KeyError: 0"
    assert not rows["memory", OURS].error


def test_a_system_whose_peaks_stay(monkeypatch):
    fine = {"memory": 50.0, "memory_grown": None}
    rows = rows_of(monkeypatch, fine, fine)
    assert "cannot be set back" in rows["memory_grown", "stock"].error
    assert rows["memory", "stock"].ratio == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets a peak back")
def test_the_peak_can_be_set_back():
    import numpy as np

    before = memory_child.resident()
    block = np.ones(40 * 2**17)  # 40 MiB
    assert memory_child.peak() >= before + 30
    del block
    memory_child.trim()
    assert memory_child.reset_peak()
    assert memory_child.peak() <= memory_child.resident() + 5


@pytest.mark.slow
@pytest.mark.once
def test_in_a_process_of_its_own():
    found = memory.in_a_process(TINY, "stock")
    assert found["memory"] > 0
    assert "cannot run" not in found
    assert (
        "UnknownCellError" in memory.in_a_process(Contest("no_such_cell", TINY.size), OURS)["error"]
    )
