"""What people get to see: the table, the notes, the pictures."""

from __future__ import annotations

import io

import keras
import pytest

from kcells.bench import report
from kcells.bench.axes import along
from kcells.bench.campaign import Campaign, Notice, tasks
from kcells.bench.command import is_grown, rows_of
from kcells.bench.sides import OURS, SIDES
from kcells.bench.sizes import LoopSize


def shown(rows):
    stream = io.StringIO()
    report.console(stream).print(report.table(rows))
    return stream.getvalue()


def test_the_table(make_row):
    rows = [
        make_row(side=OURS, other=None, ratio=None),
        make_row(),
        make_row(side="floor", ours=None, ratio=None, error="LookupError: none"),
    ]
    line = next(line for line in shown(rows).splitlines() if "lstm" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        *(keras.backend.backend(), "lstm", "8x200x32x64", "train"),
        *("1.00 ms", "0.50 (0.40-0.60)", "cannot run"),
    ]


def test_ours_that_cannot_run(make_row):
    assert "cannot run" in shown([make_row(side=OURS, ours=None, ratio=None, error="x")])


def test_memory_without_a_ratio_shows_the_figure(make_row):
    row = make_row(unit="MiB", other=0.4, ratio=None, low=None, high=None)
    assert report.ratio_text(row) == "(0.40 MiB)"
    assert report.ratio_text(make_row(low=0.5, high=0.5)) == "0.50"


def test_a_reason_is_told_once(make_row):
    rows = [make_row(cell=cell, error="KeyError: 0") for cell in ("b", "a", "b")]
    backend = keras.backend.backend()
    assert report.notes(rows) == [f"stock cannot run a, b on {backend}: KeyError: 0"]


def test_a_busy_machine_is_told(make_row, monkeypatch):
    monkeypatch.setattr(report.os, "cpu_count", lambda: 2)
    (note,) = report.notes([make_row(load=1.0), make_row(load=7.5)])
    assert note.startswith(
        "The machine was busy during 1 of 2 rows: a load of up to 7.5 on 2 cores"
    )


def test_progress_without_a_terminal_is_a_line_a_task(make_row, capsys):
    (task,) = tasks(Campaign(cells=("lstm",), sizes=(LoopSize(1, 2, 3, 4),), workloads=("train",)))
    with report.watching() as watcher:
        watcher(Notice(task, 0, 1))
        watcher(Notice(task, 1, 1, [make_row(side=OURS), make_row()]))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("1/1")
    assert line.endswith("lstm 1x2x3x4 train: stock 0.50 (0.40-0.60)")


def test_the_rows_of_a_plan_are_in_its_order(make_row, results):
    results.replace([make_row(cell="gru"), make_row(cell="lstm"), make_row(backend="other")])
    plan = Campaign(cells=("lstm", "gru"), workloads=("train",))
    assert [row.cell for row in rows_of(plan, results)] == ["lstm", "gru"]


def test_sizes_of_a_sweep_are_told_from_the_others(make_row):
    plan = Campaign(
        sizes=(LoopSize(1, 2, 3, 4),), grown=(LoopSize(1, 2, 3, 4), LoopSize(1, 2, 3, 8))
    )
    assert not is_grown(make_row(size="1x2x3x4"), plan)
    assert is_grown(make_row(size="1x2x3x8"), plan)
    assert not is_grown(make_row(size="1x2x3x8", workload="memory"), plan)


def test_a_line_of_sizes_differs_in_one_number(make_row):
    sizes = ("1x10x3x4", "1x20x3x4", "2x30x3x4", "1x40x3x4", "1x10x3x5")
    found = along([make_row(size=size) for size in sizes], "length")
    assert [size.length for _, size in found] == [10, 20, 40]
    assert along([], "length") == []


# -- Pictures


@pytest.fixture
def rows(make_row):
    cells = [(f"cell_{k}", side) for k in range(3) for side in (OURS, "stock", "floor")]
    timed = [
        make_row(cell=cell, side=side, size=size, workload=workload)
        for cell, side in cells
        for size in ("1x10x3x4", "1x100x3x4", "8x10x3x4", "1x10x3x8")
        for workload in ("train", "predict")
    ]
    kept = [make_row(workload="memory", unit="MiB", low=0.5, high=0.5)]
    return [*timed, *kept, make_row(cell="nested", error="no", ratio=None, ours=None)]


def test_pictures_are_drawn(rows, results, tmp_path):
    pytest.importorskip("matplotlib")
    from kcells.bench import picture

    written = picture.draw_ratios(rows, results, tmp_path / "new" / "cells.png")
    written += picture.draw_growth(rows, results, tmp_path / "new" / "cells.png")
    assert [path.name for path in written] == [
        *("cells.png", "cells-memory.png"),
        *("cells-growth-train.png", "cells-growth-predict.png"),
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_nothing_to_draw_is_no_picture(make_row, results, tmp_path):
    pytest.importorskip("matplotlib")
    from kcells.bench import picture

    assert picture.draw_ratios([make_row(side=OURS, ratio=None)], results, tmp_path / "x.png") == []
    assert list(tmp_path.iterdir()) == []


def test_every_side_has_a_mark():
    from kcells.bench import picture

    assert set(picture.MARKERS) == set(SIDES)
    assert len(set(picture.MARKERS.values())) == len(SIDES)


def test_matplotlib_is_asked_for_before_the_measuring(monkeypatch):
    from kcells.bench import picture

    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=r'a picture needs matplotlib: pip install "kcells\[bench\]"'
    ):
        picture.check_matplotlib()
