"""The benchmarks run; what they measure is nobody's business here."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
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
