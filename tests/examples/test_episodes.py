"""examples/episodes.py: with resets it is right, without it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()


@pytest.mark.slow
def test_the_script(examples: Any, tmp_path: Path) -> None:
    examples.run("episodes", "--backend", BACKEND, "--epochs", "6", "--out", str(tmp_path))
    folder = tmp_path / f"episodes-gru-{BACKEND}"
    accuracy = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["test_accuracy"]
    assert accuracy["with resets"] > 0.95
    assert accuracy["without resets"] < 0.4
    assert (folder / "episodes.png").stat().st_size > 10_000


@pytest.mark.once
def test_the_stream(examples: Any) -> None:
    """Held against a loop over its steps."""
    script = examples.module("episodes")
    stream = script.make_stream(np.random.default_rng(0), 200)
    for symbols, begins, answers in zip(*stream, strict=True):
        assert begins[0]
        first = None
        for symbol, new, answer in zip(symbols, begins, answers, strict=True):
            first = symbol if new else first
            assert answer == first
        lengths = np.diff(np.flatnonzero(begins))
        assert script.SHORTEST <= lengths.min() <= lengths.max() <= script.LONGEST


@pytest.mark.once
def test_a_batch_holds_the_same_chunk_of_every_environment(examples: Any) -> None:
    script = examples.module("episodes")
    stream = script.make_stream(np.random.default_rng(0), 3 * script.CHUNK)
    inputs, answers = script.in_chunks(stream, "reset")
    batch = slice(script.ENVIRONMENTS, 2 * script.ENVIRONMENTS)
    steps = slice(script.CHUNK, 2 * script.CHUNK)
    np.testing.assert_array_equal(answers[batch], stream.answers[:, steps])
    np.testing.assert_array_equal(inputs["begins"][batch], stream.begins[:, steps])
    np.testing.assert_array_equal(inputs["seen"][batch].argmax(-1), stream.symbols[:, steps])


@pytest.mark.once
def test_wrong_options(examples: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        examples.module("episodes").read_options(["--epochs", "0"])
    assert ended.value.code == 2
    assert "--epochs has to be at least 1" in capsys.readouterr().err
