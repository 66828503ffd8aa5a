"""`kcells new`: what it writes works, down to a real installation."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest

import kcells
from kcells.commands.new import FILES, NESTED, Plugin, Template
from kcells.testing.checks.documentation import docstring
from kcells.testing.law import ViolationError


def made(kcells_command, folder, name="foo", *options):
    done = kcells_command("new", name, "--folder", folder, *options)
    assert done.exit_code == 0, done.output
    return folder / Plugin(name).distribution


def test_names(kcells_command, tmp_path):
    folder = made(kcells_command, tmp_path, "slow_gru")
    assert folder.name == "kcells-plugin-slow-gru"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "kcells-plugin-slow-gru"
    assert project["entry-points"]["kcells.cells"] == {
        "slow_gru": "kcells_plugin_slow_gru:SlowGruCell"
    }
    source = (folder / "src/kcells_plugin_slow_gru/slow_gru_cell.py").read_text()
    assert 'register_keras_serializable(package="kcells-plugin-slow-gru")' in source
    assert "class SlowGruCell(kcells.StandardCell)" in source


@pytest.mark.parametrize("options", [(), ("--inputs", "location,pressure"), ("--inputs", "pen")])
def test_all_files_are_there_and_none_has_a_placeholder_left(kcells_command, tmp_path, options):
    folder = made(kcells_command, tmp_path, "foo", *options)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {Template(path).substitute(Plugin("foo").names) for path in FILES}
    assert {".gitignore", ".github/workflows/tests.yml", "LICENSE"} <= found
    for path in found:
        text = (folder / path).read_text()
        assert "%%" not in text
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert max(map(len, text.splitlines()), default=0) <= 100
    assert "${{ matrix.backend }}" in (folder / ".github/workflows/tests.yml").read_text()


def test_every_template_is_used():
    folder = Path(kcells.__file__).parent / "commands" / "templates"
    assert {path.name for path in folder.iterdir()} == {
        *filter(None, FILES.values()),
        *NESTED.values(),
    }


def test_the_paper_is_not_made_up(kcells_command, tmp_path):
    folder = made(kcells_command, tmp_path)
    assert "Paper: to be filled in." in (folder / "src/kcells_plugin_foo/foo_cell.py").read_text()


@pytest.mark.parametrize("name", ["foo", "doing", "doi_gru", "year2024", "gru_2024"])
def test_the_law_of_the_docstring_fails_until_then(kcells_command, tmp_path, name):
    """Whatever the name is: the plugin's own tests expect that."""
    folder = made(kcells_command, tmp_path, name)
    source = (folder / f"src/{Plugin(name).package}/{name}_cell.py").read_text()
    (text,) = [
        ast.get_docstring(node) for node in ast.parse(source).body if isinstance(node, ast.ClassDef)
    ]
    cls = type(Plugin(name).class_name, (kcells.Cell,), {"__doc__": text})
    with pytest.raises(ViolationError, match="names no source"):
        docstring.check(SimpleNamespace(target=SimpleNamespace(cell_class=cls)))


def test_what_is_printed(kcells_command, tmp_path):
    shown = kcells_command("new", "foo", "--folder", tmp_path).output
    assert "  src/kcells_plugin_foo/foo_cell.py\n" in shown
    assert '\n  pip install -e ".[test]"\n' in shown
    done = kcells_command("new", "bar", "--folder", tmp_path / "deeper", "--json")
    data = json.loads(done.output)
    assert data["class"] == "BarCell"
    assert data["folder"] == str(tmp_path / "deeper" / "kcells-plugin-bar")
    assert "pyproject.toml" in data["files"]


def test_nothing_is_overwritten(kcells_command, tmp_path):
    (tmp_path / "kcells-plugin-foo").mkdir()
    done = kcells_command("new", "foo", "--folder", tmp_path)
    assert done.exit_code == 2
    assert "is there already" in done.output
    assert not list((tmp_path / "kcells-plugin-foo").iterdir())


@pytest.mark.parametrize(
    ("name", "folder"), [("foo", "a-file/x"), ("foo", "closed/x"), ("f" * 300, "new/folder")]
)
def test_a_folder_that_cannot_be_written(kcells_command, tmp_path, monkeypatch, name, folder):
    (tmp_path / "a-file").touch()
    monkeypatch.setattr(Path, "mkdir", _closed(Path.mkdir))
    done = kcells_command("new", name, "--folder", tmp_path / folder)
    assert done.exit_code == 2
    assert "cannot be made: " in done.output
    assert "Choose a folder that you may write to, by --folder" in done.output


def _closed(mkdir):
    """What a folder without permission does, for root too."""

    def refusing(path, *arguments, **options):
        if "closed" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return mkdir(path, *arguments, **options)

    return refusing


def test_a_failure_midway_leaves_nothing(kcells_command, tmp_path, monkeypatch):
    write = Path.write_text

    def full(path, *arguments, **options):
        if path.suffix == ".py":
            raise OSError(28, "No space left on device")
        return write(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        done = kcells_command("new", "foo", "--folder", tmp_path)
    assert (done.exit_code, "No space left on device" in done.output) == (2, True)
    assert not list(tmp_path.iterdir())
    made(kcells_command, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kcells-plugin-foo"]


@pytest.mark.parametrize(
    "name", ["Foo", "1foo", "foo-bar", "foo__bar", "_foo", "foo_", "", "fö", "a/b", "class", "a.b"]
)
def test_no_name(kcells_command, tmp_path, name):
    done = kcells_command("new", name, "--folder", tmp_path)
    assert done.exit_code == 2
    assert "cannot be the id of a new cell" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", ["a,a", "a,", "A", "a b", "1,2"])
def test_no_names_of_inputs(kcells_command, tmp_path, names):
    done = kcells_command("new", "foo", "--folder", tmp_path, "--inputs", names)
    assert (done.exit_code, "cannot be the name of an input" in done.output) == (2, True)
    assert not list(tmp_path.iterdir())


def test_a_name_of_kcells(kcells_command, tmp_path):
    done = kcells_command("new", "lstm", "--folder", tmp_path)
    assert (done.exit_code, "no plugin takes over" in done.output) == (2, True)


def test_a_name_of_another_plugin(site, kcells_command, tmp_path):
    site.plugin("odd-zoo", {"foo": "FooCell"}, source="1 / 0")
    done = kcells_command("new", "foo", "--folder", tmp_path)
    assert done.exit_code == 0
    assert "odd-zoo 1.0 declares a cell foo too" in done.output


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("options", [(), ("--inputs", "location,pressure")], ids=["one", "two"])
def test_new_install_test_list(kcells_command, tmp_path, options):
    """All that an author does, in an environment that has what this one has."""
    folder = made(kcells_command, tmp_path, "foo", *options)
    venv.create(tmp_path / "venv", with_pip=False)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / Path(sys.executable).name
    inner = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    here = sysconfig.get_path("purelib")
    Path(inner, "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")

    def run(*command):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "install", *offline, "-e", ".[test]")
    assert " passed" in run(python, "-m", "pytest", "-rA", "tests")
    command = "import kcells_command; kcells_command.main()"
    shown = run(python, "-c", command, "list", "foo")
    assert shown.splitlines()[2].split() == ["foo", "loop", "kcells-plugin-foo", "0.1.0"]
