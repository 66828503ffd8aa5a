"""Every cell of this repository's plugins goes through the kit, and none brings it along."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

import kcells
from kcells import registry
from kcells.cells.card import card_of
from kcells.cells.signature import constructor_parameters
from kcells.testing.checks.constructor import guessed
from tests.fake_dists import run_python

FOLDERS = pathlib.Path(__file__).parents[1] / "plugins"
CELLS = [info for info in kcells.list_cells() if (FOLDERS / info.distribution).is_dir()]


@pytest.mark.parametrize("info", CELLS, ids=lambda info: info.id)
def test_it_says_what_to_check_and_is_checked(info):
    cls = registry.load(info.qualified_id)
    assert "card" in vars(cls)
    assert cls.card().gates is not None
    assert cls.card().cases
    tests = FOLDERS / info.distribution / "tests" / "test_conformance.py"
    assert f'cells_of("{info.distribution}")' in tests.read_text(encoding="utf-8")


# Cells that are made have no plain value.
NOT_SURVIVING = {"parallel": {"cells"}, "fast_slow": {"cell", "slow", "depth"}}


@pytest.mark.once
@pytest.mark.parametrize("info", CELLS, ids=lambda info: info.id)
def test_the_law_of_survival_looks_at_every_argument(info):
    cls = registry.load(info.qualified_id)
    parameters = constructor_parameters(cls)
    others = card_of(cls).others
    assert set(others) <= set(parameters)
    unknown = {name for name, p in parameters.items() if name not in others and guessed(p) is None}
    made = {"cell"} if issubclass(cls, kcells.Wrapper) else set()
    assert unknown - {"units", "filters"} == NOT_SURVIVING.get(info.id, made)


def test_kcells_knows_no_cell_of_a_plugin_by_name():
    """What a plugin's cell needs is on its card, where a stranger's says it too."""
    # These are a path, arguments and attributes too.
    words = {"parallel", "device", "dropout"}
    ids = "|".join(info.id for info in CELLS if info.id not in words)
    package = pathlib.Path(kcells.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node) for node in ast.walk(tree) if _is_docstring(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in documentation:
                assert not re.fullmatch(ids, str(node.value)), f"{path}:{node.lineno}"


def _is_docstring(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value


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
