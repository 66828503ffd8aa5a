"""Every cell of this repository's plugins goes through the kit, and none brings it along."""

from __future__ import annotations

import pathlib

import pytest

import kcells
from kcells import registry
from tests.fake_dists import run_python

FOLDERS = pathlib.Path(__file__).parents[1] / "plugins"
CELLS = [info for info in kcells.list_cells() if (FOLDERS / info.distribution).is_dir()]


@pytest.mark.parametrize("info", CELLS, ids=lambda info: info.id)
def test_it_says_what_to_check_and_is_checked(info):
    assert "check_cases" in vars(registry.load(info.qualified_id))
    tests = FOLDERS / info.distribution / "tests" / "test_conformance.py"
    assert f'"{info.id}"' in tests.read_text(encoding="utf-8")


def test_there_are_cells():
    assert {"nested", "mlstm"} <= {info.id for info in CELLS}


def test_cells_do_not_bring_the_kit_along(tmp_path):
    ids = [info.qualified_id for info in CELLS]
    code = f"""
        import sys
        from kcells import registry
        for name in {ids!r}:
            registry.load(name)
        print([name for name in sys.modules if name.startswith("kcells.testing")])
    """
    assert run_python(code, cwd=tmp_path).strip().splitlines()[-1] == "[]"
