"""examples/streaming.py: a file that is fed sample by sample says what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest

BACKEND = keras.backend.backend()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_the_script(examples: Any, tmp_path: Path, form: str) -> None:
    if BACKEND == "jax" or (form == "litert" and BACKEND != "tensorflow"):
        pytest.skip(f"no file of this format on {BACKEND}")
    options = ["--format", form, "--backend", BACKEND, "--epochs", "2", "--out", str(tmp_path)]
    examples.run("streaming", *options)
    folder = tmp_path / f"streaming-{form}-{BACKEND}"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["largest_difference"] < 1e-4
    assert summary["test_accuracy_of_the_file"] == summary["test_accuracy_of_predict"]
    assert summary["milliseconds_a_step"]["median"] > 0
    assert (folder / "streaming.png").stat().st_size > 10_000


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "torch", "--format", "litert"], "writes no file in the format litert"),
        (["--epochs", "0"], "--epochs has to be at least 1"),
    ],
)
def test_wrong_options(examples: Any, options: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        examples.module("streaming").read_options(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
