"""`kcells inspect`: files of all kinds, none of which is believed."""

import json
import zipfile

import keras
import pytest

import kcells


def archive(path, config, metadata='{"keras_version": "3.15.0"}'):
    """A `.keras` file with these JSON texts."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        file.writestr("metadata.json", metadata)
    return path


def cell(package, name):
    return {"class_name": name, "registered_name": f"{package}>{name}", "config": {}}


def record(distribution, version, cell_id="foo"):
    return {"cell_sources": [{"id": cell_id, "distribution": distribution, "version": version}]}


def inspected(kcells_command, path):
    done = kcells_command("inspect", path, "--json")
    return json.loads(done.output)["cells"], done.exit_code


def test_a_real_model(site, kcells_command, tmp_path):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, version="2.5")
    layers = [kcells.build(["foo", "lstm"], 4, return_sequences=True), kcells.build("gru", 4)]
    model = keras.Sequential([keras.Input((5, 3)), *layers])
    model.save(tmp_path / "model.keras")
    rows, code = inspected(kcells_command, tmp_path / "model.keras")
    assert code == 0
    assert [row["id"] for row in rows] == ["foo", "lstm"]
    assert rows[0] == {
        "class_name": "FooCell",
        "id": "foo",
        "distribution": "kcells-plugin-foo",
        "saved": "2.5",
        "installed": "2.5",
        "status": "installed",
        "remedy": "",
        "module": "",
    }
    shown = kcells_command("inspect", tmp_path / "model.keras").output
    assert f"saved with Keras {keras.__version__}" in shown
    assert "foo    kcells-plugin-foo   2.5" in shown


def test_a_plugin_is_missing(kcells_command, tmp_path):
    config = {**cell("kcells-plugin-gone", "GoneCell"), **record("kcells-plugin-gone", "1.2")}
    path = archive(tmp_path / "model.keras", config)
    (row,), code = inspected(kcells_command, path)
    assert code == 1
    assert (row["status"], row["installed"]) == ("missing", "")
    shown = kcells_command("inspect", path).output
    assert "To load it here:\n  pip install kcells-plugin-gone==1.2\n" in shown


def test_another_version_is_installed(site, kcells_command, tmp_path):
    plugin = site.plugin("odd-zoo", {"foo": "FooCell"}, version="2.5", source="1 / 0")
    path = archive(tmp_path / "m.keras", {**cell("odd-zoo", "FooCell"), **record("odd-zoo", "1.0")})
    (row,), code = inspected(kcells_command, path)
    assert (row["status"], row["saved"], row["installed"]) == ("another version", "1.0", "2.5")
    assert code == plugin.imports == 0


def test_a_class_without_entry_point(site, kcells_command, tmp_path):
    site.plugin("odd-zoo", {"foo": "FooCell"}, version="2.5")
    config = {**cell("odd-zoo", "Helper"), **record("odd-zoo", "2.5", "old")}
    (row,), code = inspected(kcells_command, archive(tmp_path / "m.keras", config))
    assert (row["class_name"], row["status"], code) == ("Helper", "no entry point", 0)


def test_a_record_without_class(kcells_command, tmp_path):
    path = archive(tmp_path / "m.keras", record("kcells-plugin-gone", "1.0"))
    (row,), code = inspected(kcells_command, path)
    assert (row["id"], row["class_name"], row["status"], code) == ("foo", "", "missing", 1)


def test_a_plugin_is_hidden(site, kcells_command, tmp_path, monkeypatch):
    site.plugin("odd-zoo", {"foo": "FooCell"})
    monkeypatch.setenv("KCELLS_PLUGINS", "")
    path = archive(tmp_path / "model.keras", cell("odd-zoo", "FooCell"))
    (row,), code = inspected(kcells_command, path)
    assert (row["status"], row["remedy"], code) == ("hidden", "add odd-zoo to KCELLS_PLUGINS", 1)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"class_name": "Dense"}, "plain Keras loads it"),
        (cell("kcells", "GRU"), "it loads after `import kcells`"),
        ([], "plain Keras loads it"),
    ],
)
def test_no_cell(kcells_command, tmp_path, config, text):
    done = kcells_command("inspect", archive(tmp_path / "model.keras", config))
    assert done.exit_code == 0
    assert text in done.output


def layer(inner, package="kcells", name="RNN"):
    return {"registered_name": f"{package}>{name}", "class_name": name, "config": {"cell": inner}}


OWN = {"module": "my.module", "class_name": "OwnCell", "registered_name": "OwnCell", "config": {}}


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (OWN, [("OwnCell", "my.module", 'custom_objects={"OwnCell": ...}')]),
        (
            {**OWN, "module": None},
            [("OwnCell", "", "a notebook or a program: give it to kcells.load_model")],
        ),
        (
            {**OWN, "registered_name": "Custom>OwnCell"},
            [("OwnCell", "my.module", 'run what registers "Custom>OwnCell" before')],
        ),
        (
            {
                **cell("kcells", "StackedCells"),
                "config": {"cells": [OWN, {**OWN, "class_name": "B"}]},
            },
            [("OwnCell", "my.module", ""), ("B", "my.module", "")],
        ),
        ({"a": OWN, "b": [{"kind": "cell", "cell": OWN}]}, [("OwnCell", "my.module", "")]),
    ],
)
@pytest.mark.parametrize("outer", [("kcells", "RNN"), ("Custom", "OwnLayer")])
def test_a_cell_that_no_plugin_provides(kcells_command, tmp_path, inner, expected, outer):
    path = archive(tmp_path / "model.keras", layer(inner, *outer))
    rows, code = inspected(kcells_command, path)
    assert code == 1
    assert [(row["class_name"], row["module"]) for row in rows] == [e[:2] for e in expected]
    assert {row["status"] for row in rows} == {"no plugin"}
    shown = " ".join(kcells_command("inspect", path).output.split())
    assert "To load it here:" in shown
    for class_name, module, text in expected:
        assert f"the class {class_name}, which was in {module and 'the module ' + module}" in shown
        assert text in shown


@pytest.mark.parametrize(
    "inner",
    [
        {"module": "keras.layers", "class_name": "GRUCell", "registered_name": None},
        {"module": "keras_hub.layers.x", "class_name": "OddCell", "registered_name": None},
        cell("kcells", "StackedCells"),
        {"class_name": 5, "registered_name": []},
        "OwnCell",
        7,
    ],
)
def test_what_needs_nobody(kcells_command, tmp_path, inner):
    rows, code = inspected(kcells_command, archive(tmp_path / "model.keras", layer(inner)))
    assert [row["status"] for row in rows] in ([], ["installed"])
    assert code == 0


def test_what_a_file_says_is_no_line_to_paste(kcells_command, tmp_path):
    inner = {**OWN, "module": "os; rm -rf ~\n\nTo load it here:\n  pip install evil" + "x" * 999}
    shown = kcells_command("inspect", archive(tmp_path / "model.keras", layer(inner))).output
    assert "\n  pip install evil" not in shown
    assert "x" * 60 not in shown


def test_texts_of_the_file_stay_texts(kcells_command, tmp_path):
    config = cell("kcells-plugin-x", "\x1b[31m[red]Cell")
    shown = kcells_command("inspect", archive(tmp_path / "model.keras", config)).output
    assert "?[31m[red]Cell" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("distribution", ["x; rm -rf", "-r evil", "Evil Name"])
def test_nothing_to_paste_that_is_no_name(kcells_command, tmp_path, distribution):
    config = {**cell(distribution, "Cell"), **record(distribution, "1.0")}
    shown = kcells_command("inspect", archive(tmp_path / "model.keras", config)).output
    assert "pip install" not in shown


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no file"),
        (b"text", "it is no zip archive"),
        ("{", "its configuration is damaged (JSONDecodeError"),
        ("[" * 100_000, "its configuration is damaged (RecursionError"),
    ],
)
def test_no_model_file(kcells_command, tmp_path, content, text):
    path = tmp_path / "model.keras"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        archive(path, content)
    done = kcells_command("inspect", path)
    assert done.exit_code == 2
    assert text in done.output
    assert "Traceback" not in done.output


def test_a_zip_of_something_else(kcells_command, tmp_path):
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as file:
        file.writestr("notes.txt", "")
    done = kcells_command("inspect", tmp_path / "notes.zip")
    assert (done.exit_code, "there is no config.json" in done.output) == (2, True)


def test_a_configuration_that_is_too_large(kcells_command, tmp_path, monkeypatch):
    monkeypatch.setattr("kcells.registry.archive.LARGEST_CONFIGURATION", 10)
    done = kcells_command("inspect", archive(tmp_path / "model.keras", {"class_name": "Dense"}))
    assert (done.exit_code, "which no model has" in done.output) == (2, True)


def test_a_folder(kcells_command, tmp_path):
    assert "is no .keras file" in kcells_command("inspect", tmp_path).output
