"""The kit sees every broken cell, and says what is wrong with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import broken_cells
import keras
import numpy as np
import pytest
from broken_cells import BROKEN, Broken
from sound_cells import SOUND, Leaky

import kcells
from kcells.testing import (
    ConformanceError,
    Result,
    laws,
    parametrize_with_checks,
    record,
    run_checks,
)

SLOW = {"saving": pytest.mark.slow}


def parameter(broken: Broken) -> Any:
    marks = [SLOW[broken.law]] if broken.law in SLOW else []
    if reason := broken.unseen.get(keras.backend.backend()):
        marks.append(pytest.mark.skip(reason=reason))
    return pytest.param(broken, marks=marks, id=f"{broken.law}-{broken.cell.__name__}")


RESULTS: dict[type, Result] = {}


@pytest.fixture
def check(tmp_path_factory):
    """A function for what the kit says about the law that a cell breaks; it looks once."""

    def look(broken: Broken) -> Result:
        if broken.cell not in RESULTS:
            files = recorded(broken, tmp_path_factory.mktemp("recorded"))
            (result,) = run_checks(broken.cell, only=broken.law, recorded=files)
            RESULTS[broken.cell] = result
        return RESULTS[broken.cell]

    return look


def recorded(broken: Broken, folder: Path) -> list[Path]:
    """What the cell computes elsewhere, for the law that compares with it."""
    if broken.law != "backends":
        return []
    path = folder / "elsewhere.npz"
    broken.cell.elsewhere = True
    record(broken.cell, path)
    broken.cell.elsewhere = False
    return [path]


@pytest.mark.every_law
@parametrize_with_checks(SOUND, marks=SLOW)
def test_sound_cells_keep_every_law(check):
    """`check` is the parameter here, not the fixture."""
    check()


@pytest.mark.parametrize("broken", map(parameter, BROKEN))
def test_broken_cell_fails(broken, check):
    result = check(broken)
    assert result.status == "failed", str(result)
    assert (result.law, result.leaf) == (broken.law, broken.leaf)
    assert broken.says in result.reason


@pytest.mark.parametrize("broken", map(parameter, BROKEN))
def test_report_reads_well(broken, check):
    result = check(broken)
    first, *lines = str(result).splitlines()
    name, backend = broken.cell.__name__, keras.backend.backend()
    assert first == f"{broken.law} FAILED: {name}, backend {backend}"
    assert all(line.startswith("  ") or not line for line in lines)
    (law,) = (law for law in laws() if law.name == broken.law)
    assert f"  Law: {law.text}" in lines
    assert f"  Reproduce: {result.reproduce}" in lines
    # Where it is an exception of the cell, its line in the cell is shown.
    assert not result.traceback or "broken_cells.py" in result.traceback
    assert "\x1b" not in str(result), "no colours"


REPRODUCED = [
    broken
    for broken in BROKEN
    if broken.cell.__name__
    in ("ForgetsArgument", "SeesMaskedSteps", "WrongBias", "DependsOnTheBackend")
]


@pytest.mark.parametrize("broken", map(parameter, REPRODUCED))
def test_line_reproduces_the_failure(broken, check):
    result = check(broken)
    names = {"kcells": kcells, **vars(broken_cells)}
    with pytest.raises(ConformanceError, match=f"^{broken.law} FAILED: {broken.cell.__name__}"):
        eval(result.reproduce, names)  # noqa: S307  our own line


def test_every_law_has_a_broken_cell():
    """Who adds a law adds a cell that breaks it."""
    broken = Counter(broken.law for broken in BROKEN)
    assert broken.keys() == {law.name for law in laws()}


def test_every_law_is_seen_broken_on_every_backend():
    """But for what a backend cannot see at all."""
    for backend in ("tensorflow", "jax", "torch"):
        seen = {broken.law for broken in BROKEN if backend not in broken.unseen}
        unseen = {law.name for law in laws()} - seen
        assert unseen == ({"compiled"} if backend == "torch" else set())


def test_every_broken_cell_is_one_of_its_own():
    classes = [broken.cell for broken in BROKEN]
    assert len(classes) == len(set(classes))


# -- backends


def test_a_number_that_was_altered_is_found(tmp_path):
    path = tmp_path / "recorded.npz"
    record(Leaky, path)
    arrays = dict(np.load(path))
    (name,) = (key for key in arrays if key.endswith("gradient of weight decay"))
    arrays[name][np.abs(arrays[name]).argmax()] *= 1.001
    np.savez(path, **arrays)
    (result,) = run_checks(Leaky, only="backends", recorded=[path])
    assert result.leaf == "gradient of weight decay"
    assert "recorded.npz" in result.reproduce


def test_a_file_of_another_cell_says_so(tmp_path):
    path = tmp_path / "recorded.npz"
    record(Leaky, path, seed=1)
    (result,) = run_checks(Leaky, only="backends", recorded=[path])
    assert "holds nothing about this case; record it again" in result.reason


@pytest.mark.once
@pytest.mark.slow
def test_another_backend_gives_the_same(tmp_path, backend):
    from tests.fake_dists import run_python

    other = "jax" if backend == "torch" else "torch"
    path = tmp_path / "other.npz"
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import sound_cells
        from kcells.testing import record
        record(sound_cells.Leaky, {str(path)!r})
    """
    run_python(code, cwd=tmp_path, KERAS_BACKEND=other)
    (result,) = run_checks(Leaky, only="backends", recorded=[path])
    assert result.status == "passed", str(result)
