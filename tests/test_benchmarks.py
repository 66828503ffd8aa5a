"""The benchmarks run; what they measure is nobody's business here."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import keras
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.once
def test_dispatch(tmp_path):
    backend = keras.backend.backend()
    command = [sys.executable, str(FOLDER / "dispatch.py"), "--quick", "--rounds", "2"]
    command += ["--backend", backend, "--json", str(tmp_path / "figures.json")]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["machine"]["backend"] == backend
    rows = figures["rows"]
    workloads = ["train", "predict"] + (["layer"] if backend == "torch" else [])
    assert [(r["cell"], r["workload"]) for r in rows] == [
        (cell, workload) for cell in ("lstm", "gru") for workload in workloads
    ]
    assert all(row["ratio"] > 0 and row["ours_ms"] > 0 for row in rows)
    assert len(run.stdout.splitlines()) == 1 + len(rows)


@pytest.mark.slow
@pytest.mark.once
def test_cells(tmp_path):
    backend = keras.backend.backend()
    command = [sys.executable, str(FOLDER / "cells.py"), "--backend", backend, "--rounds", "1"]
    command += ["--cells", "simple_rnn,nested", "--sizes", "2x3x4x5", "--workloads", "predict"]
    command += ["--json", str(tmp_path / "cells.json"), "--picture", str(tmp_path / "cells.png")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    rows = json.loads((tmp_path / "cells.json").read_text(encoding="utf-8"))["rows"]
    assert {row["cell"] for row in rows} == {"simple_rnn", "nested"}
    assert [row["cell"] for row in rows if row["side"] == "stock" and row["error"]] == ["nested"]
    assert "stock cannot run nested" in run.stdout
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("script", "rows"), [("nested.py", 8), ("thresholds.py --only products_ahead_in_training", 2)]
)
def test_quickly(tmp_path, script, rows):
    name, *more = script.split()
    command = [sys.executable, str(FOLDER / name), *more, "--quick", "--rounds", "1"]
    command += ["--backend", "tensorflow", "--json", str(tmp_path / "rows.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert len(found) == rows == len(run.stdout.splitlines())
    assert all(row["ratio"] > 0 for row in found)


def test_options_of_cells():
    script = runpy.run_path(str(FOLDER / "cells.py"))
    options = {
        "cells": " lstm, gru",
        "sizes": "1x2x3x4",
        "workloads": "",
        "variants": "checkpoint",
        "sweep": True,
        "base": "1x2x3x4",
        "lengths": "2,5",
        "batches": "1",
        "units": "8",
        "memory": True,
        "memory_sizes": "4x3x2x1",
        "rounds": 7,
        "again": True,
    }
    plan = script["plan_of"](**options)
    assert plan.cells == ("lstm", "gru")
    assert [str(size) for size in plan.sizes] == ["1x2x3x4"]
    assert [str(size) for size in plan.grown] == ["1x2x3x4", "1x5x3x4", "1x2x3x8"]
    assert [str(size) for size in plan.memory] == ["4x3x2x1"]
    assert (plan.variants, plan.rounds, plan.again) == (("checkpoint",), 7, True)
    assert script["plan_of"](**{**options, "sizes": ""}).sizes is None
    assert script["plan_of"](**{**options, "sizes": "none"}).sizes == ()
    for wrong in ({"variants": "fast"}, {"workloads": "walk"}, {"lengths": "x"}, {"sizes": "1"}):
        with pytest.raises(ValueError, match=r"is none of|invalid literal|is no size"):
            script["plan_of"](**{**options, **wrong})


@pytest.mark.slow
@pytest.mark.once
def test_generate(tmp_path):
    backend = keras.backend.backend()
    command = [sys.executable, str(FOLDER / "generate.py"), "--backend", backend]
    command += ["--units", "8", "--rounds", "1", "--json", str(tmp_path / "figures.json")]
    subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [row["side"] for row in rows][:2] == ["a loop of Python", "greedy, one row"]
    assert all(row["microseconds"] > 0 for row in rows)
