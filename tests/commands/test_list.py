"""`kcells list`."""

import json

import pytest
from click.testing import CliRunner

import kcells
from kcells import registry
from kcells.commands.group import main
from kcells.testing.cases import cases_for


def listed(kcells_command, *arguments):
    return json.loads(kcells_command("list", "--json", *arguments).output)


def test_a_table(site, kcells_command):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, version="2.5", source="1 / 0")
    done = kcells_command("list")
    assert done.exit_code == 0
    line = next(line for line in done.output.splitlines() if line.startswith("foo "))
    assert line.split() == ["foo", "loop", "kcells-plugin-foo", "2.5"]
    assert "Cells of kcells-plugin-foo." in done.output
    assert "remark" not in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert plugin.imports == 0


def test_json(site, kcells_command):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, version="2.5")
    assert listed(kcells_command, "foo") == [
        {
            "id": "foo",
            "name": "foo",
            "distribution": "kcells-plugin-foo",
            "version": "2.5",
            "summary": "Cells of kcells-plugin-foo.",
            "paths": ["loop"],
            "hidden": False,
            "ambiguous": False,
        }
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("quag", {"quagga", "quaggoid"}),
        ("QUAGGA", {"quagga"}),
        ("quagg?", {"quagga"}),
        ("*oid", {"quaggoid"}),
        ("odd-zoo", {"quagga", "quaggoid"}),
    ],
)
def test_patterns(site, kcells_command, pattern, found):
    site.plugin("odd-zoo", {"quagga": "QuaggaCell", "quaggoid": "QuaggoidCell"})
    assert {row["id"] for row in listed(kcells_command, pattern)} == found


def test_nothing_is_found(kcells_command):
    done = kcells_command("list", "no-such-cell")
    assert done.exit_code == 1
    assert "No cell is found" in done.output
    assert listed(kcells_command, "no-such-cell") == []


def test_what_is_hidden_is_marked(site, kcells_command, monkeypatch):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    monkeypatch.setenv("KCELLS_PLUGINS", "")
    (row,) = listed(kcells_command, "foo")
    assert row["hidden"]
    assert not row["ambiguous"]
    shown = kcells_command("list").output
    assert "hidden: KCELLS_PLUGINS is set and does not name the distribution." in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_what_is_ambiguous_is_marked(site, kcells_command):
    site.plugin("odd-one", {"foo": "FooCell"})
    site.plugin("odd-two", {"foo": "FooCell"})
    assert [row["name"] for row in listed(kcells_command, "foo")] == ["odd-one:foo", "odd-two:foo"]
    assert all(row["ambiguous"] for row in listed(kcells_command, "foo"))
    shown = kcells_command("list").output
    assert "ambiguous: several distributions declare it; say which one" in shown


def test_a_plugin_that_declares_a_name_of_kcells(site, kcells_command):
    site.plugin("odd-one", {"lstm": "FooCell"})
    rows = {row["distribution"]: row for row in listed(kcells_command, "lstm")}
    assert rows["kcells"]["name"] == "lstm"
    assert rows["odd-one"]["name"] == "odd-one:lstm"
    assert not rows["odd-one"]["ambiguous"]
    assert "by its qualified id: kcells owns the bare name" in kcells_command("list").output


def test_texts_of_others_stay_texts(site, kcells_command):
    metadata = "Name: odd-texts\nVersion: 1.0\nSummary: \x1b[31m [red]not red[/red] :bomb:\n"
    site.dist_info("odd-texts", "1.0", "[kcells.cells]\nfoo = m:FooCell\n", metadata=metadata)
    shown = kcells_command("list", "odd-texts").output
    assert "?[31m [red]not red[/red] :bomb:" in shown


def test_a_letter_that_the_terminal_does_not_have(site):
    metadata = "Name: odd-texts\nVersion: 1.0\nSummary: the angle θ\n"
    site.dist_info("odd-texts", "1.0", "[kcells.cells]\nfoo = m:FooCell\n", metadata=metadata)
    done = CliRunner(charset="ascii").invoke(main, ["list", "odd-texts"])
    assert done.exit_code == 0
    assert "the angle ?" in done.stdout


@pytest.mark.parametrize("width", ["0", "-1", "x", ""])
def test_no_width(kcells_command, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    assert kcells_command("list", "lstm").output.splitlines()[0].split()[0] == "cell"


def test_ids_are_whole_in_a_narrow_terminal(site, kcells_command, monkeypatch):
    site.plugin("odd-zoo", {"quagga_with_many_stripes": "QuaggaCell"})
    monkeypatch.setenv("COLUMNS", "20")
    shown = kcells_command("list", "quagga").output
    assert max(map(len, shown.splitlines())) <= 20
    assert "…" not in shown
    lines = shown.splitlines()[:-3]
    start = next(number for number, line in enumerate(lines) if "───" in line) + 1
    first = [line[: line.find(" ")] if " " in line else line for line in lines[start:]]
    assert "".join(first).startswith("quagga_with_many_stripes")


@pytest.mark.parametrize("info", kcells.list_cells(), ids=lambda info: info.id)
def test_what_is_declared_is_what_the_cell_can_do(info):
    """Of every installed cell, in its own cases."""
    can = {"loop"}
    for case in cases_for(registry.load(info.qualified_id), None, None):
        cell = kcells.cell(info.qualified_id, **case.arguments)
        can.add(kcells.RNN(cell, dispatch="auto")._plan.path)
    assert set(info.paths) == can
