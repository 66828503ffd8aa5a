"""`kcells bench`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import pytest
from click.testing import CliRunner

from kcells.commands import bench
from kcells.commands.group import main

BACKEND = keras.backend.backend()


def invoke(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_help():
    assert "--size BxTxFxU" in invoke("bench", "--help").output


def test_a_cell_is_measured(counted, tmp_path):
    path = tmp_path / "rows.json"
    size = ("--size", "2x3x4x5")
    done = invoke("bench", "lstm", *size, "--rounds", "1", "--json", str(path))
    assert done.exit_code == 0, done.output
    assert "2x3x4x5" in done.output
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert {row["workload"] for row in rows} == {"train", "predict"}
    made = len(counted)
    assert invoke("bench", "lstm", *size, "--json", str(path)).exit_code == 0
    assert len(counted) == made


def test_default_sizes(counted):
    assert invoke("bench", "lstm", "--rounds", "1").exit_code == 0
    assert {entry.split()[1] for entry in counted} == {"8x200x32x64", "1x200x32x64"}


def test_an_unknown_cell():
    done = invoke("bench", "mlsmt")
    assert done.exit_code == 2
    assert 'no installed plugin declares a cell "mlsmt"' in done.output
    assert "mlstm" in done.output.replace("mlsmt", "")
    assert "Traceback" not in done.output


def test_a_bad_size():
    done = invoke("bench", "lstm", "--size", "8x200")
    assert done.exit_code == 2
    assert "'8x200' is no size: write batch, time steps, features and units" in done.output


def test_no_cell():
    assert "Missing argument 'ID...'" in invoke("bench").output


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "notes.json"
    path.write_text("{}")
    done = invoke("bench", "lstm", "--json", str(path))
    assert done.exit_code == 2
    assert "holds no results of this benchmark" in done.output


def test_another_backend_gets_a_process_of_its_own(monkeypatch, tmp_path):
    started = []

    def run(command, env, check):
        started.append((command[1:], env["KERAS_BACKEND"]))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(bench.subprocess, "run", run)
    other = "jax" if BACKEND != "jax" else "torch"
    size = ("--size", "2x3x4x5")
    done = invoke("bench", "lstm", "gru", *size, "--backend", other, "--rounds", "4")
    assert done.exit_code == 3
    expected = ["-m", "kcells", "bench", "lstm", "gru", *size, "--rounds", "4"]
    assert started == [(expected, other)]


@pytest.mark.slow
@pytest.mark.once
def test_as_a_program(tmp_path):
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "kcells", "bench", "simple_rnn", "--size", "2x3x4x5"]
    command += ["--rounds", "1", "--json", str(path), "--backend", BACKEND]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KERAS_BACKEND": BACKEND}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert {row["backend"] for row in rows} == {BACKEND}
    assert not [row["error"] for row in rows if row["error"]]
