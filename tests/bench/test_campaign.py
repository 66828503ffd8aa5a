"""Which tasks there are, which are left, and the file in between."""

from __future__ import annotations

import json

import keras
import pytest

import kcells
from kcells.bench import store
from kcells.bench.campaign import Campaign, run, tasks
from kcells.bench.rows import Row
from kcells.bench.sides import OURS
from kcells.bench.sizes import DEFAULT_SIZES, LoopSize
from kcells.bench.store import Results, ResultsError
from kcells.errors import UnknownCellError

# A campaign is the same on every backend; what it measures is in test_measure.py.
pytestmark = pytest.mark.once

TINY = LoopSize(2, 3, 4, 5)


def plan(*cells, **options):
    return Campaign(
        **{"cells": cells, "sizes": (TINY,), "workloads": ("train",), "rounds": 1, **options}
    )


# -- Tasks


def test_all_cells_and_sizes_unless_told_otherwise(counted):
    found = [str(task) for task in tasks(Campaign())]
    assert {text.split()[0] for text in found} == {info.id for info in kcells.list_cells()}
    assert [text for text in found if text.startswith("mlstm ")] == [
        f"mlstm {size} {workload}" for size in DEFAULT_SIZES for workload in ("train", "predict")
    ]
    # At the size of the guide.
    assert next(t for t in found if t.startswith("nested ")) == "nested 64x50x32x10 train"


def test_a_sweep_adds_sizes_once(counted):
    found = tasks(plan("lstm", "nested", grown=(TINY, LoopSize(2, 3, 4, 16))))
    assert [str(task) for task in found] == [
        "lstm 2x3x4x5 train",
        "lstm 2x3x4x16 train",
        "nested 2x3x4x5 train",
        "nested 2x3x4x1 train",
        "nested 2x3x4x2 train",
    ]


def test_memory_is_a_task_of_its_own_without_the_floor(counted):
    task = tasks(plan("lstm", memory=(TINY,)))[-1]
    assert str(task) == "lstm 2x3x4x5 memory"
    assert [side.name for side in task.sides] == [OURS, "stock"]
    assert task.workloads == ("memory", "memory_grown")


def test_unknown_cells_are_found_before_anything_runs(counted):
    with pytest.raises(UnknownCellError, match="mlsmt"):
        tasks(plan("lstm", "mlsmt"))
    assert not counted


# -- Resuming


def test_what_is_there_is_kept(counted, results):
    run(plan("lstm"), results)
    assert len(counted) == 3
    again = Results(results.path)
    assert again.rows == results.rows
    run(plan("lstm", "gru"), again)
    assert [entry.split()[0] for entry in counted] == ["lstm"] * 3 + ["gru"] * 3
    assert [row.cell for row in Results(results.path).rows] == ["lstm"] * 3 + ["gru"] * 3


def test_again_measures_once_more(counted, results):
    run(plan("lstm"), results)
    run(plan("lstm", again=True), results)
    assert len(counted) == 6
    assert len(results.rows) == 3


def test_rows_of_another_backend_stay(counted, results, make_row):
    theirs = make_row(backend="another", size=str(TINY))
    results.replace([theirs])
    run(plan("lstm"), results)
    assert results.rows[0] == theirs
    assert len(results.rows) == 4


def test_what_failed_or_lacks_a_side_is_measured_again(counted, results, make_row):
    lacks = make_row(cell="gru", size=str(TINY), side=OURS)
    failed = make_row(size=str(TINY), side=OURS, ours=None, error="no")
    results.replace([lacks, failed])
    run(plan("lstm", "gru"), results)
    assert len(counted) == 6
    assert not [row for row in results.rows if row.error]


def test_an_interrupt_loses_nothing_that_has_ended(counted, results):
    def stop(notice):
        if notice.number == 1 and notice.rows is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan("lstm", "gru"), results, stop)
    kept = Results(results.path)
    assert {row.cell for row in kept.rows} == {"lstm"}
    run(plan("lstm", "gru"), kept)
    assert len(counted) == 6


def test_who_watches_is_told(counted, results):
    notices = []
    run(plan("lstm", "gru"), results, notices.append)
    assert [(n.number, n.total, n.rows is None) for n in notices] == [
        (0, 2, True),
        (1, 2, False),
        (1, 2, True),
        (2, 2, False),
    ]


# -- The file


def test_what_a_file_holds(results, make_row):
    results.replace([make_row()])
    stored = json.loads(results.path.read_text(encoding="utf-8"))
    assert set(stored) == {"format", "machine", "versions", "rows"}
    assert set(stored["machine"]) == {"processor", "cores", "system", "python"}
    versions = stored["versions"][keras.backend.backend()]
    assert {"kcells", "keras", keras.backend.backend()} <= set(versions)
    assert stored["rows"] == [make_row().as_json()]
    assert set(stored["rows"][0]) == set(Row.__dataclass_fields__)
    assert [path.name for path in results.path.parent.iterdir()] == ["results.json"]


def test_a_write_that_fails_leaves_the_file(results, make_row, monkeypatch):
    results.replace([make_row()])
    before = results.path.read_text(encoding="utf-8")
    monkeypatch.setattr(store.json, "dumps", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        results.replace([make_row(cell="gru")])
    assert results.path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}', '{"rows": [], "format": 1}'])
def test_what_is_no_file_of_results(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"other\.json holds no results of this benchmark"):
        Results(path)
    assert path.read_text() == text


def test_rows_of_another_machine_are_not_mixed_in(results, make_row):
    results.replace([make_row()])
    stored = json.loads(results.path.read_text(encoding="utf-8"))
    stored["machine"]["cores"] = 1000
    results.path.write_text(json.dumps(stored))
    with pytest.raises(ResultsError, match=r"(?s)another machine.*cores there: 1000"):
        Results(results.path)
    assert Results(results.path, again=True).rows == []


def test_without_a_file_nothing_is_written(make_row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Results().replace([make_row()])
    assert list(tmp_path.iterdir()) == []
