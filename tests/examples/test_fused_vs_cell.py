"""examples/fused_vs_cell.py: equal predictions, both paths, the picture; no times."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
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

ROUNDING = 1e-5


@pytest.fixture(scope="module")
def script(examples: Any) -> ModuleType:
    return examples.module("fused_vs_cell")


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of the script left."""

    status: int
    output: str
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def run(script: ModuleType, tmp_path_factory: Any) -> Run:
    """The whole script, quickly, in this process."""
    out, backend, output = tmp_path_factory.mktemp("out"), keras.backend.backend(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        # Set here, so that they are taken back: the script sets them too.
        patch.setenv("KERAS_BACKEND", backend)
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        status = script.main(["--quick", "--backend", backend, "--out", str(out)])
    path = out / f"fused-vs-cell-{backend}" / "fused_vs_cell.json"
    return Run(status, output.getvalue(), json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture
def models(script: ModuleType) -> dict[str, keras.Model]:
    return script.build_models(8, (8, 8))


# -- The whole script


def test_both_predict_the_same(run: Run) -> None:
    assert run.status == 0
    assert set(run.summary["differences"]) == {
        "before the training",
        "with the trained weights",
        "under a mask",
        "mask, against no padding",
    }
    assert max(run.summary["differences"].values()) < ROUNDING


def test_one_is_fused_and_one_is_a_loop(run: Run, backend: str) -> None:
    fused, cell = run.summary["sides"]["fused"], run.summary["sides"]["cell"]
    kernels = {"gpu": "cudnn", "cpu": "native" if backend == "torch" else "loop"}
    assert (fused["path"], fused["kernel"]) == ("fused", kernels[fused["device"]])
    assert (cell["path"], cell["kernel"]) == ("loop", "loop")


def test_a_mask_changes_no_path(run: Run) -> None:
    sides = run.summary["sides"]
    for side in ("fused", "cell"):
        assert run.summary["masked_path"][side] == sides[side]["path"]
        assert run.summary["masked_kernel"][side] == sides[side]["kernel"]


def test_both_learn(run: Run) -> None:
    accuracies = [side["accuracy"] for side in run.summary["sides"].values()]
    # A tenth of it would be guessed right.
    assert min(accuracies) > 0.6
    assert abs(accuracies[0] - accuracies[1]) < 0.1


def test_times_every_epoch_of_both(run: Run) -> None:
    seconds = run.summary["seconds"]
    assert [len(seconds[side]) for side in ("fused", "cell")] == [4, 4]
    assert min(seconds["fused"] + seconds["cell"]) > 0


def test_draws_a_picture(run: Run) -> None:
    from matplotlib import pyplot as plt

    path = Path(run.summary["files"]["png"])
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = plt.imread(path)
    height, width, _ = picture.shape
    assert width > height > 400
    for blue_or_orange in ((31, 119, 180), (255, 127, 14)):
        bars = np.all(np.round(255 * picture[..., :3]) == blue_or_orange, axis=-1)
        # Each side has a bar for the time, as long as it may be, and one for the accuracy.
        assert bars[:, : width // 2].any()
        assert bars[:, width // 2 :].mean() > 0.05


def test_prints_what_matters(run: Run) -> None:
    for text in ("path fused", "path loop", "With padding on the left", "test accuracy", "pairs"):
        assert text in run.output
    for path in run.summary["files"].values():
        assert path in run.output


@pytest.mark.slow
@pytest.mark.once
def test_runs_as_a_script(examples: Any, backend: str, tmp_path: Path) -> None:
    options = ["--quick", "--epochs", "1", "--steps", "16", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(examples.folder / "fused_vs_cell.py"), *options],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / f"fused-vs-cell-{backend}" / "fused_vs_cell.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    assert (summary["backend"], summary["steps"], summary["epochs"]) == (backend, 16, 1)


# -- Its parts


def test_the_models_differ_in_the_layer_alone(models: dict[str, keras.Model]) -> None:
    fused, cell = (models[side].layers[0] for side in ("fused", "cell"))
    assert isinstance(fused, keras.layers.LSTM)
    assert type(cell) is kcells.RNN
    assert type(fused.cell) is type(cell.cell) is keras.layers.LSTMCell
    pairs = zip(models["fused"].get_weights(), models["cell"].get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_a_difference_is_seen(script: ModuleType, models: dict[str, keras.Model]) -> None:
    images = np.random.default_rng(0).random((5, 8, 8), dtype="float32")
    assert script.difference(models, images) < ROUNDING
    models["cell"].layers[0].set_weights([2 * w for w in models["cell"].layers[0].get_weights()])
    assert script.difference(models, images) > 1e-3
    assert script.compare_masked(models, images)["fused, cell"] > 1e-3


@pytest.mark.parametrize("steps", [8, 64])
def test_padding(script: ModuleType, steps: int) -> None:
    (images, _), _ = script.load_data(steps)
    assert images.shape == (1437, steps, 64 // steps)
    assert images.min() == 0
    assert images.max() == 1
    padded, lost = script.without_first_steps(images)
    assert set(lost) == {0, steps // 8, steps // 4, 3 * steps // 8, steps // 2}
    for image, whole, count in zip(padded[:5], images[:5], lost[:5], strict=True):
        assert (image[:count] == script.PADDING).all()
        np.testing.assert_array_equal(image[count:], whole[count:])


def test_speedup_is_a_median_of_pairs(script: ModuleType) -> None:
    # The first pair does not count.
    seconds = {"fused": [1.0, 1.0, 10.0, 1.0], "cell": [99.0, 2.0, 30.0, 7.0]}
    assert script.speedup(seconds) == 3


def test_verdict(script: ModuleType) -> None:
    sides = {"fused": {"kernel": "cudnn"}}
    assert script.verdict(sides, 3) == "the kernel cudnn is 3.00 times as fast as the loop"
    assert "no kernel here" in script.verdict({"fused": {"kernel": "loop"}}, 1)


@pytest.mark.parametrize(("difference", "status"), [(1e-6, 0), (1e-3, 1), (np.nan, 1)])
def test_status_tells_whether_they_agree(
    script: ModuleType,
    backend: str,
    difference: float,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    side = {
        "path": "loop",
        "kernel": "loop",
        "device": "cpu",
        "seconds_an_epoch": 0.5,
        "seconds_first_epoch": 1.0,
        "accuracy": 0.925,
    }
    summary = {
        "epochs": 1,
        "sides": {"fused": side, "cell": side},
        "times_as_fast": 1.0,
        "differences": {"some": 0.0, "other": difference},
        "files": {},
    }
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(script, "run", lambda options: summary)
    assert script.main(["--backend", backend, "--out", str(tmp_path)]) == status
    printed = capsys.readouterr()
    assert "92.5%" in printed.out
    assert ("disagree" in printed.err) == bool(status)


# -- Options


def test_options(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    options = script.read_options(["--out", str(tmp_path)])
    assert (options.backend, options.epochs, options.units) == ("tensorflow", 10, 64)
    options = script.read_options(["--quick", "--units", "5", "--out", str(tmp_path)])
    assert (options.epochs, options.units) == (3, 5)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    options = script.read_options(["--out", str(tmp_path)])
    assert options.folder == tmp_path / "fused-vs-cell-jax"
    assert script.read_options(["--backend", "torch", "--out", str(tmp_path)]).backend == "torch"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "0 is not between 1 and 10000"),
        (["--units", "many"], "'many' is not a whole number"),
        (["--steps", "7"], "invalid choice: 7"),
        (["--seed", "-1"], "-1 is not between 0 and"),
        (["--backend", "numpy"], "invalid choice: 'numpy'"),
    ],
)
def test_wrong_options(
    script: ModuleType,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        script.main([*arguments, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_folder_to_write_to(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("here already", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        script.main(["--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "cannot make the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "remedy"),
    [("jax", "pip install 'kcells[jax]'"), ("sklearn", "pip install 'kcells[examples]'")],
)
def test_missing_package(
    script: ModuleType,
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
        script.main(["--backend", "jax"])
    assert stop.value.code == 2
    assert f"{package} is not installed; {remedy}" in capsys.readouterr().err
