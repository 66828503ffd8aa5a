"""examples/translate_dates.py: it learns, and its dates are what they are said to be."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()


@pytest.mark.slow
def test_the_script(examples: Any, tmp_path: Path) -> None:
    printed = examples.run(
        "translate_dates", "--backend", BACKEND, "--epochs", "2", "--out", str(tmp_path)
    )
    assert "Translating dates that it has not seen" in printed
    folder = tmp_path / f"translate_dates-{BACKEND}"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["held_out"] == 1000
    assert summary["exact"] > 0.9  # with the usual four epochs 1.0
    assert (folder / "alignments.png").stat().st_size > 10_000


@pytest.mark.once
def test_the_dates(examples: Any) -> None:
    script = examples.module("translate_dates")
    training, held_out = script.make_dates(np.random.default_rng(0), 3000, 500)
    assert not set(training.isos) & set(held_out.isos)
    for spelling, iso in zip(*training, strict=True):
        assert len(spelling) <= script.LONGEST
        date = datetime.date.fromisoformat(iso)
        assert str(date.year % 100).zfill(2) in spelling
        assert str(date.day) in spelling
    assert len({len(spelling) for spelling in training.spellings}) > 20


@pytest.mark.once
def test_spellings_of_one_day(examples: Any) -> None:
    script, rng = examples.module("translate_dates"), np.random.default_rng(0)
    found = {script.spelled(datetime.date(2021, 3, 3), rng).lower() for _ in range(2000)}
    for spelling in ("the 3rd of march 2021", "3.iii.2021", "wed, 3 mar. '21", "20210303"):
        assert spelling in found
    assert "wed, 2021, march 3" not in found


@pytest.mark.once
def test_ids(examples: Any) -> None:
    script = examples.module("translate_dates")
    read = script.read_ids(["3 Mar", "3 MAR"])
    assert (read[0] == read[1]).all()
    assert "".join(script.READ[k] for k in read[0, :5]) == "3 mar"
    assert not read[:, 5:].any()
    written = script.written_ids(["2021-03-03"])
    assert written.shape == (1, script.STEPS)
    before = "".join(script.WRITTEN[k] for k in script.shifted(written)[0])
    assert before == "^2021-03-03"


@pytest.mark.once
def test_wrong_options(examples: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        examples.module("translate_dates").read_options(["--epochs", "0"])
    assert ended.value.code == 2
    assert "--epochs has to be at least 1" in capsys.readouterr().err
