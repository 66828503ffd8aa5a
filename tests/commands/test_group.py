"""The command as a whole: help, errors, completion, and what it does not import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import kcells
import kcells_command as script
from kcells.commands import library
from kcells.commands.group import SUBCOMMANDS, main
from kcells.commands.output import Problem
from tests.fake_dists import run_python

WITHOUT_KERAS = """
import json, sys

import kcells_command

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["kcells", *arguments]
    try:
        kcells_command.main()
    except SystemExit as done:
        print("exit code", done.code, file=sys.stderr)
    assert "keras" not in sys.modules, arguments
    assert not {"tensorflow", "jax", "torch"} & set(sys.modules), arguments
"""


def test_help_and_version(kcells_command):
    done = kcells_command("--help")
    assert done.exit_code == 0
    for name, entry in SUBCOMMANDS.items():
        assert name in done.output
        assert entry.help in done.output
    assert "Exit codes: 0 all is well" in done.output
    assert kcells.__version__ in kcells_command("--version").output


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_has_help_and_json(kcells_command, name):
    done = kcells_command(name, "--help")
    assert done.exit_code == 0
    assert "--json" in done.output


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_pages_have_every_subcommand(name):
    root = Path(__file__).parents[2]
    assert f"`{name}`" in (root / "README.md").read_text(encoding="utf-8")
    assert f"\n## kcells {name}\n" in (root / "docs/command.md").read_text(encoding="utf-8")


def test_an_unknown_subcommand(kcells_command):
    done = kcells_command("lits")
    assert done.exit_code == 2
    assert "No such command 'lits'" in done.output


def completions(arguments, incomplete):
    found = ShellComplete(main, {}, "kcells", "_KCELLS_COMPLETE").get_completions(
        arguments, incomplete
    )
    return [item.value for item in found]


def test_completion_of_subcommands():
    assert completions([], "in") == ["info", "inspect"]
    assert "--version" in completions([], "--")


@pytest.mark.parametrize("subcommand", ["info", "check", "bench"])
def test_completion_of_cells(site, subcommand):
    site.plugin("odd-zoo", {"quagga": "QuaggaCell"}, source="1 / 0")
    site.plugin("odd-two", {"twice": "TwiceCell"}, source="1 / 0")
    site.plugin("odd-three", {"twice": "TwiceCell"}, source="1 / 0")
    assert completions([subcommand], "quag") == ["quagga"]
    assert completions([subcommand], "odd-") == ["odd-three:twice", "odd-two:twice"]


# -- Without Keras


def test_what_runs_without_keras(tmp_path):
    commands = [
        ["--version"],
        ["--help"],
        ["list"],
        ["list", "lstm", "--json"],
        ["inspect", str(tmp_path / "no-such.keras")],
        ["new", "quagga", "--folder", str(tmp_path)],
        *([name, "--help"] for name in SUBCOMMANDS),
    ]
    shown = run_python(WITHOUT_KERAS, json.dumps(commands), cwd=tmp_path)
    assert kcells.__version__ in shown
    assert '"id": "lstm"' in shown
    assert (tmp_path / "kcells-plugin-quagga").is_dir()


def test_completion_without_keras(tmp_path):
    """As the shell asks for it, from the installed script."""
    script_path = Path(sys.executable).with_name("kcells")
    if not script_path.exists():
        pytest.skip("the script is not installed beside this Python")
    asked = {"_KCELLS_COMPLETE": "bash_complete", "COMP_WORDS": "kcells info simple_r"}
    broken = {"KERAS_BACKEND": "no-such-backend", "COMP_CWORD": "2"}
    done = subprocess.run(
        [script_path],
        env={**os.environ, **asked, **broken},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == "plain,simple_rnn\n"


# -- One package, prepared or whole


def test_the_package_is_one_object(tmp_path):
    """What was imported before Keras is what the whole library uses."""
    code = """
    import sys

    import kcells_command

    kcells_command.prepare()
    from kcells import errors, registry
    from kcells.commands import library

    package = sys.modules["kcells"]
    assert not library.is_whole()
    assert library.choose("jax")
    assert library.load() is package is library.load()
    import kcells

    assert kcells is package and library.is_whole()
    assert kcells.errors is errors and kcells.list_cells is registry.list_cells
    assert callable(kcells.explain) and callable(kcells.build)
    assert kcells.RNN.__module__ == "kcells.layers.rnn"
    assert library.choose("jax") and not library.choose("torch")
    kcells_command.prepare()
    assert sys.modules["kcells"] is package
    """
    run_python(code, cwd=tmp_path)


def test_a_package_that_is_there_is_left_alone():
    script.prepare()
    assert sys.modules["kcells"] is kcells
    assert library.is_whole()
    assert library.load() is kcells


def test_the_package_is_not_there(monkeypatch):
    monkeypatch.delitem(sys.modules, "kcells")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="the package kcells is not"):
        script.prepare()


def test_keras_does_not_start(monkeypatch):
    class Loader:
        def exec_module(self, module):
            raise ModuleNotFoundError("No module named 'tensorflow'")

    module = type(sys)("kcells")
    module.__spec__ = type("Spec", (), {"loader": Loader()})()
    monkeypatch.setitem(sys.modules, "kcells", module)
    with pytest.raises(Problem, match="Keras does not start: ModuleNotFoundError") as caught:
        library.load()
    assert "KERAS_BACKEND=jax" in caught.value.message
