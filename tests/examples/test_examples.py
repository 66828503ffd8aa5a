"""What holds for every example."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

SCRIPTS = (
    *("characters", "custom_cell", "episodes", "fused_vs_cell", "guide", "motion"),
    *("streaming", "translate_dates"),
)


def test_every_script_is_known_and_listed(examples: Any) -> None:
    assert sorted(path.stem for path in examples.folder.glob("*.py")) == list(SCRIPTS)
    readme = (examples.folder / "README.md").read_text(encoding="utf-8")
    for name in SCRIPTS:
        assert f"({name}.py)" in readme
        assert f"examples/{name}.py" in readme


@pytest.mark.parametrize("name", SCRIPTS)
def test_docstring_says_how_to_run_it(examples: Any, name: str) -> None:
    source = (examples.folder / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert f"python examples/{name}.py" in docstring


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_function_has_type_hints(examples: Any, name: str) -> None:
    source = (examples.folder / f"{name}.py").read_text(encoding="utf-8")
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    assert functions
    for function in functions:
        assert function.returns is not None, function.name
        arguments = [*function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg != "self"]
        assert not bare, (function.name, bare)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_absolute_paths(examples: Any, name: str) -> None:
    source = (examples.folder / f"{name}.py").read_text(encoding="utf-8")
    assert not re.search(r"""["' ](/(home|root|tmp|usr|work|Users)/|[A-Z]:\\)""", source)


def test_the_custom_cell_is_short(examples: Any) -> None:
    source = (examples.folder / "custom_cell.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 60
