"""A plugin and a model file whose every text speaks to the terminal, through every subcommand."""

from __future__ import annotations

import copy
import json
import traceback
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import kcells
from kcells import registry
from kcells.commands import check, doctor, doctor_child
from kcells.commands.group import main
from kcells.errors import KCellsError, PluginLoadError
from kcells.text import one_line, printable

# A title for the window, a wiped screen, a colour, the other direction of writing, a line that is
# written over, and what rich would read as its markup.
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\x08[red]R[/red][link=http://x.y]L[/link]:bomb:"
EVIL_ID = EVIL.replace("=", "")

SOURCE = f'''
import keras


class Odd:
    def __repr__(self):
        return {EVIL!r}


@keras.saving.register_keras_serializable(package="evil")
class EvilCell(keras.layers.SimpleRNNCell):
    __doc__ = {EVIL!r} + """.

        h_t = """ + {EVIL!r} + """

    Paper: """ + {EVIL!r} + """

    Args:
        odd: """ + {EVIL!r}

    def __init__(self, units, odd=Odd(), **kwargs):
        super().__init__(units, **kwargs)

    def build(self, input_shape):
        raise RuntimeError({EVIL!r})


class WorseCell(EvilCell):
    def __init__(self, units, **kwargs):
        raise RuntimeError({EVIL!r})
'''


def assert_clean(text: str) -> None:
    bad = {c for c in text if not c.isprintable() and c != "\n"}
    assert not bad, ascii(text)


@pytest.fixture
def evil(site: Any) -> Any:
    """Declares cells under names that are no names; one of them loads, one does not."""
    site.module("evil_texts", SOURCE)
    site.module("evil_import", f"raise RuntimeError({EVIL!r})")
    lines = [
        "[kcells.cells]",
        "evil = evil_texts:EvilCell",
        "worse = evil_texts:WorseCell",
        "broken = evil_import:Cell",
        f"e{EVIL_ID} = evil_texts:{EVIL_ID}",
    ]
    metadata = f"Name: evil{EVIL}\nVersion: 1{EVIL}\n fake\nSummary: {EVIL}\n\n"
    site.dist_info("evil", "1.0", "\n".join(lines), metadata=metadata)
    registry.refresh()
    return site


def evil_ids() -> list[str]:
    return [i.qualified_id for i in registry.list_cells() if i.id.startswith("e\x1b")]


def shown(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert_clean(done.output)
    return done.output


def test_the_texts_are_there(evil):
    (cell_id,) = evil_ids()
    info = registry.describe(cell_id)
    for text in (info.id, info.distribution, info.version, info.summary, info.target):
        assert "\x1b" in text
        assert "\n" not in text


def test_list(evil):
    text = shown("list", "e*")
    assert "[red]R[/red]" in text.replace("\n", "")
    assert json.loads(shown("list", "--json"))


@pytest.mark.parametrize("name", ["evil", "worse", "broken", "no\x1b[2Jcell"])
def test_info(evil, name):
    text = shown("info", name)
    assert ("owned" in text) == (name != "no\x1b[2Jcell")
    shown("info", name, "--json")


def test_info_of_a_cell_without_a_name(evil):
    assert "has no attribute" in shown("info", *evil_ids())


def test_new(evil):
    with CliRunner().isolated_filesystem():
        # On one line: where it is broken depends on the terminal.
        assert "declares a cell worse too" in " ".join(shown("new", "worse").split())


def test_completion(evil):
    items = ShellComplete(main, {}, "kcells", "_X").get_completions(["info"], "ev")
    assert [item.value for item in items] == ["evil"]
    for item in items:
        assert_clean(f"{item.value}{item.help}")


def test_doctor(evil, monkeypatch):
    facts = [{"kind": "backend", "version": EVIL, "device": EVIL, "devices": [EVIL]}]
    facts += [{"kind": "runs"}, {"kind": "plugin", "cell": f"evil{EVIL}:evil", "error": EVIL}]

    def reports(module: str, *_: Any) -> Any:
        assert module == doctor_child.__name__
        names = [info.qualified_id for info in registry.list_cells() if "\x1b" in info.distribution]
        broken = [{"kind": "plugin", "cell": name, "error": EVIL} for name in names]
        return iter(copy.deepcopy([*facts, *broken]))

    monkeypatch.setattr(doctor, "reports", reports)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    assert "does not load on torch" in shown("doctor")
    assert json.loads(shown("doctor", "--json"))["problems"]


def test_check(evil, monkeypatch):
    fields = ("law", "case", "cell", "status", "reason", "leaf", "text", "reproduce", "traceback")
    result = dict.fromkeys(fields, EVIL) | {"difference": None, "allowed": None, "backend": "jax"}

    def reports(*_: Any) -> Any:
        yield {"kind": "result", "bad": True, **result}
        yield {"kind": "result", "bad": False, **result, "status": "skipped"}

    monkeypatch.setattr(check, "reports", reports)
    assert "owned" in shown("check", "evil", "--backend", "jax")
    shown("check", "evil", "--json")
    monkeypatch.setattr(
        check, "reports", lambda *_: iter([{"kind": "error", "text": EVIL, "wrong": True}])
    )
    assert "owned" in shown("check", "evil")


def test_bench(evil, counted, tmp_path):
    path = tmp_path / "rows.json"
    assert "evil" in shown("bench", "evil", "--size", "2x3x4x5", "--rounds", 1, "--json", path)
    stored = json.loads(path.read_text())
    for row in stored["rows"]:
        row |= {"error": EVIL, "unit": EVIL}
    path.write_text(json.dumps(stored))
    assert "owned" in shown("bench", "evil", "--size", "2x3x4x5", "--json", path)
    shown("bench", *evil_ids(), "--size", "2x3x4x5", "--rounds", 1)
    stored["machine"] |= {"processor": EVIL, "cores": 1}
    path.write_text(json.dumps(stored))
    assert "another machine" in shown("bench", "evil", "--size", "2x3x4x5", "--json", path)


def forged(path: Path, names: dict[str, str], metadata: str = "") -> Path:
    """A model file with other names in it."""
    model = keras.Sequential([keras.Input((5, 3)), kcells.build("gru", 4, name="innocent")])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = content["config.json"].decode()
    for old, new in names.items():
        assert old in config
        config = config.replace(old, json.dumps(new)[1:-1])
    content["config.json"] = config.encode()
    content["metadata.json"] = json.dumps({"keras_version": metadata}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "names",
    [
        {"innocent": f"layer{EVIL}\nx"},
        {"kcells>GRU": f"kcells-plugin-evil>Cell{EVIL}\n  pip install worse"},
        {"kcells>GRU": f"Own{EVIL}>Cell{EVIL}\n  pip install worse"},
        {"GlorotUniform": EVIL},
    ],
)
def test_files(tmp_path, names):
    path = forged(tmp_path / "model.keras", names, metadata=f"3{EVIL}\nIt is a fake")
    for command in ("inspect", "explain"):
        text = shown(command, path)
        assert "\n  pip install worse" not in text
        assert "\nIt is a fake" not in text
        shown(command, path, "--json")


def test_a_file_with_a_name(tmp_path):
    path = tmp_path / f"a{EVIL.replace('/', '')}.keras"
    path.write_bytes(b"")
    assert "it is no zip archive" in shown("inspect", path)
    shown("explain", path)


# -- Outside of the command


def test_messages_of_errors(evil):
    for name in ("broken", *evil_ids()):
        with pytest.raises(PluginLoadError) as caught:
            kcells.cell(name, 4)
        assert_clean(str(caught.value))
        assert_clean("".join(map(str, caught.value.args)))
    with pytest.raises(KCellsError) as caught:
        kcells.cell(f"evil{EVIL}", 4)
    assert_clean(str(caught.value))
    text = traceback.format_exception_only(caught.value)
    assert_clean("".join(text))


def test_warnings_about_metadata(site, recwarn):
    site.dist_info(f"odd{EVIL.replace('/', '')}", "1", b"[kcells.cells]\n\xff\xfe\x1b = \xff")
    registry.refresh()
    registry.list_cells()
    assert recwarn.list
    for warning in recwarn.list:
        assert_clean(str(warning.message))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, 1 + 1", "plain text, 1 + 1"),
        ("größer, 大きい, ไทย", "größer, 大きい, ไทย"),
        ("two\nlines\r\n\tthere", "two\nlines\n    there"),
        ("\x1b[31m\x00\x7f\x85", "?[31m???"),
        ("a\u202eb\u2067c\u200ed\ufeff", "a?b?c?d?"),
        ("\ud800", "?"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected
    assert one_line(text) == expected.replace("\n", " ")
