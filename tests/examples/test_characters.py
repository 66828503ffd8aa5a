"""examples/characters.py: learns, writes on from a prompt piece by piece, and compares."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

import kcells

BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def script(examples: Any) -> ModuleType:
    return examples.module("characters")


@pytest.mark.slow
def test_the_script(examples: Any, tmp_path: Path) -> None:
    options = ["--quick", "--backend", BACKEND, "--length", "40", "--out", str(tmp_path)]
    printed = examples.run("characters", *options, "--prompt", "A class ")
    folder = tmp_path / f"characters-{BACKEND}"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    # Guessing among 103 characters would take 6.7.
    assert summary["bits"]["held out"][-1] < 5
    text = (folder / "text.txt").read_text(encoding="utf-8")
    assert text.startswith("A class ")
    assert len(text) == summary["characters_written"] + 1 == 49
    assert text in printed
    said = summary["bits_of_what_is_said"]
    assert said["Beam(8)"] <= said["Greedy()"] + 1e-3 < said["Sample()"]
    assert said["Sample(0.4)"] < said["Sample()"]
    assert (folder / "characters.png").stat().st_size > 10_000
    assert keras.models.load_model(folder / "characters.keras").count_params() > 0


def test_what_comes_next(script: ModuleType) -> None:
    here, following = script.windows(np.arange(200), first=3)
    assert here.shape == following.shape == (3, 64)
    assert here[0, 0] == 3
    np.testing.assert_array_equal(following, here + 1)
    alphabet = script.Alphabet("hello")
    assert alphabet.text(alphabet.ids("hole?")) == "hole"
    assert len(alphabet) == 4


def test_pieces_are_what_one_call_writes(script: ModuleType) -> None:
    """Whatever the length, and with the prompt read before."""
    stream = kcells.to_streaming(script.build_model("gru", 8, 20))
    prompt = np.array([3, 5, 1], "int32")
    pieces = np.concatenate(list(script.written(stream, prompt, 37, "greedy")))
    states = script.read(stream, prompt[:-1])
    whole = kcells.generate(stream, states, prompt[-1:], 37)
    np.testing.assert_array_equal(pieces, keras.ops.convert_to_numpy(whole.outputs)[0])


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "0"], "--length has to be at least 1"),
        (["--epochs", "0"], "--epochs has to be at least 1"),
        (["--temperature", "0"], "--temperature has to be above 0"),
        (["--prompt", ""], "--prompt has to have a character"),
        (["--backend", "numpy"], "invalid choice"),
    ],
)
def test_wrong_options(script: ModuleType, options: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        script.read_options(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
