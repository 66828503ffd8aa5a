"""The code in the README runs, and its cell is one."""

from __future__ import annotations

import pathlib
import re

import pytest

import kcells

README = pathlib.Path(__file__).parent.parent / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks()
    assert len(found) == 9
    for code in found:
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
    assert kcells.RNN(kcells.cell("foo", 8))._bound.hoists
    kcells.unregister("foo")


def test_the_table_of_cells_is_what_is_installed():
    table = re.findall(r"^\| (kcells\S*) \| (.+) \|$", README.read_text(), flags=re.M)
    named = {(id_, source) for source, ids in table for id_ in re.findall(r"`(\w+)`", ids)}
    ours = {"kcells", *(folder.name for folder in (README.parent / "plugins").iterdir())}
    installed = {(i.id, i.distribution) for i in kcells.list_cells() if i.distribution in ours}
    assert named == installed


@pytest.mark.parametrize(
    "name",
    ["CONTRIBUTING.md", "CHANGELOG.md"]
    + [f"docs/{page}.md" for page in ("architecture", "authors", "decoding", "dispatch", "speed")],
)
def test_what_the_readme_links_to_is_there(name):
    assert (README.parent / name).exists()
    assert name in README.read_text()
