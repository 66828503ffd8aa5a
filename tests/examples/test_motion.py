"""examples/motion.py: its files, the loading in a fresh process, and wrong options."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

import kcells


@pytest.fixture(scope="module")
def motion(examples: Any) -> ModuleType:
    return examples.module("motion")


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of the script left."""

    output: str
    folder: Path
    summary: dict[str, Any]


# -- The whole script, two epochs of it


# One run of the script for all tests of it where calls are compiled, not another one for each.
CELLS = {"tensorflow": ["nested"], "jax": ["parallel"]}.get(
    keras.backend.backend(), ["parallel", "nested"]
)


@pytest.fixture(scope="module", params=CELLS)
def run(request: pytest.FixtureRequest, examples: Any, tmp_path_factory: Any) -> Run:
    out = tmp_path_factory.mktemp("out")
    backend = keras.backend.backend()
    options = ["--cell", request.param, "--backend", backend, "--epochs", "2", "--out", str(out)]
    output = examples.run("motion", *options)
    folder = out / f"motion-{request.param}-{backend}"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return Run(output, folder, summary)


@pytest.mark.slow
def test_writes_its_files(run: Run, backend: str) -> None:
    files = {key: Path(path) for key, path in run.summary["files"].items()}
    assert files == {
        "model": run.folder / "model.keras",
        "picture": run.folder / "motion.png",
        "summary": run.folder / "summary.json",
    }
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    picture = plt.imread(files["picture"])
    height, width, _ = picture.shape
    assert width > 1200
    assert height > 400
    # Curves, a matrix and text, not a blank page.
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50


@pytest.mark.slow
def test_predicts_the_same_in_a_fresh_process(run: Run) -> None:
    assert run.summary["largest_difference_after_loading"] == 0
    assert "largest difference of the predictions 0" in run.output


@pytest.mark.slow
def test_the_saved_model_is_the_one_that_was_tested(run: Run, motion: ModuleType) -> None:
    model = keras.models.load_model(run.folder / "model.keras")
    inputs, labels = motion.load_data(run.summary["seed"]).test
    predicted = np.argmax(model.predict(inputs, verbose=0), axis=1)
    assert np.mean(predicted == labels) == run.summary["test_accuracy"]
    assert np.trace(run.summary["confusion"]) == np.sum(predicted == labels)
    assert np.sum(run.summary["confusion"]) == 40
    assert run.summary["parameters"] == model.count_params()


@pytest.mark.slow
def test_says_what_ran(run: Run, backend: str) -> None:
    ids = [cell["id"] for cell in run.summary["cells"]]
    assert ids in (["parallel", "mlstm", "ln_gru"], ["nested"])
    for cell in run.summary["cells"]:
        assert cell["from"] == kcells.describe(cell["id"]).source
        assert f'"{cell["id"]}" ({cell["from"]})' in run.output
    assert run.summary["path"] == ["loop"]
    assert run.summary["backend"] == backend
    for text in (f"{backend} on ", "path loop", "test accuracy", "Epoch 2/2"):
        assert text in run.output
    for path in run.summary["files"].values():
        assert path in run.output


@pytest.mark.slow
def test_the_fresh_process_finds_the_plugins_by_itself(run: Run, motion: ModuleType) -> None:
    """Loading must go through the registry: it fails where the plugins are hidden."""
    arguments = [str(run.folder / "model.keras"), "inputs.npz", "out.npy"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", motion.RELOAD, *arguments],
        env={**os.environ, "KCELLS_PLUGINS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "MissingPluginError" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["parallel", "nested"])
def test_learns(motion: ModuleType, cell: str, tmp_path: Path) -> None:
    """What the example promises, with the epochs and the seed that it has by default."""
    options = motion.read_options(["--cell", cell, "--out", str(tmp_path)])
    keras.utils.set_random_seed(options.seed)
    data = motion.load_data(options.seed)
    model = motion.build_model(cell, data.train[0], len(data.names))
    motion.train(model, data, options.epochs)
    assert model.evaluate(*data.test, verbose=0, return_dict=True)["accuracy"] >= 0.9


# -- Its parts


def test_data(motion: ModuleType) -> None:
    data = motion.load_data(seed=3)
    assert data.names == ["badminton", "running", "standing", "walking"]
    for (inputs, labels), each in ((data.train, 8), (data.validation, 2), (data.test, 10)):
        assert {key: x.shape for key, x in inputs.items()} == {
            "accelerometer": (4 * each, 100, 3),
            "gyroscope": (4 * each, 100, 3),
        }
        assert np.bincount(labels).tolist() == [each] * 4


def test_no_series_is_in_two_parts(motion: ModuleType) -> None:
    data = motion.load_data(seed=3)
    rows = [
        np.concatenate([inputs[key].reshape(len(labels), -1) for key in motion.SENSORS], axis=1)
        for inputs, labels in (data.train, data.validation, data.test)
    ]
    assert len(np.unique(np.concatenate(rows), axis=0)) == 80


@pytest.mark.parametrize("cell", ["parallel", "nested"])
def test_the_recurrent_part_is_one_layer(motion: ModuleType, cell: str) -> None:
    inputs = {key: np.ones((2, 10, 3), "float32") for key in motion.SENSORS}
    model = motion.build_model(cell, inputs, classes=4)
    (layer,) = [layer for layer in model.layers if isinstance(layer, kcells.RNN)]
    assert type(layer.cell).__module__.startswith("kcells_plugin_nested")
    assert model.output.shape == (None, 4)


def test_standardizes_with_the_training_series(motion: ModuleType) -> None:
    train, _ = motion.load_data(seed=0).train
    model = motion.build_model("nested", train, classes=4)
    for key in motion.SENSORS:
        values = np.asarray(
            keras.ops.convert_to_numpy(model.get_layer(f"standardize_{key}")(train[key]))
        )
        np.testing.assert_allclose(values.mean(axis=(0, 1)), 0, atol=1e-4)
        np.testing.assert_allclose(values.std(axis=(0, 1)), 1, atol=1e-3)


# -- What can go wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "lstm"], "argument --cell: invalid choice: 'lstm'"),
        (["--backend", "numpy"], "argument --backend: invalid choice: 'numpy'"),
        (["--epochs", "0"], "argument --epochs: 0 is not between 1 and 10000"),
        (["--epochs", "many"], "argument --epochs: 'many' is not a whole number"),
        (["--seed", "-1"], "argument --seed: -1 is not between 0 and 4294967295"),
        (["--epoch_s", "2"], "unrecognized arguments: --epoch_s"),
    ],
)
def test_wrong_option(
    motion: ModuleType,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        motion.main([*arguments, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(
    motion: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("here already", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        motion.main(["--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_wrong_variable(
    motion: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    with pytest.raises(SystemExit) as stop:
        motion.main([])
    assert stop.value.code == 2
    assert "KERAS_BACKEND is 'numpy'; choose from tensorflow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "remedy"),
    [("jax", "pip install 'kcells[jax]'"), ("sktime", "pip install 'kcells[examples]'")],
)
def test_missing_package(
    motion: ModuleType,
    package: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(SystemExit) as stop:
        motion.main(["--backend", "jax"])
    assert stop.value.code == 2
    assert f"{package} is not installed; {remedy}" in capsys.readouterr().err


def test_options(motion: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    options = motion.read_options(["--out", str(tmp_path)])
    assert (options.cell, options.backend) == ("parallel", "tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert motion.read_options(["--out", str(tmp_path)]).backend == "jax"
    options = motion.read_options(["--backend", "torch", "--out", str(tmp_path)])
    assert options.folder == tmp_path / "motion-parallel-torch"


@pytest.mark.parametrize(("difference", "status"), [(0.0, 0), (1e-9, 1)])
def test_status_tells_whether_the_predictions_are_identical(
    motion: ModuleType,
    backend: str,
    difference: float,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = {
        "cells": [{"id": "nested", "from": "somewhere 1.0"}],
        "path": ["loop"],
        "backend": "jax",
        "parameters": 1234,
        "epochs": 1,
        "seconds_training": 1.0,
        "seconds_in_all": 2.0,
        "test_accuracy": 0.925,
        "largest_difference_after_loading": difference,
        "files": {},
    }
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(motion, "run", lambda options: summary)
    assert motion.main(["--backend", backend, "--out", str(tmp_path)]) == status
    printed = capsys.readouterr()
    assert "92.5%" in printed.out
    assert ("something else" in printed.err) == bool(status)


def test_missing_plugin_is_said_clearly(
    motion: ModuleType,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KCELLS_PLUGINS", "kcells-plugin-mlstm,kcells-plugin-layernorm")
    # Set here, so that they are taken back: the script sets them too.
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert motion.main(["--backend", backend, "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert 'no installed plugin declares a cell "parallel"' in error
    assert "Traceback" not in error
