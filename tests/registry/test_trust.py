"""`KCELLS_PLUGINS`: which installed plugins may be used."""

import pytest

import kcells
from kcells import registry
from kcells.errors import UnknownCellError


@pytest.fixture
def plugins(site):
    """Three plugins, one of them with an odd spelling of its name."""
    return {
        "foo": site.plugin("Kcells_Plugin.Foo", {"foo": "FooCell"}),
        "bar": site.plugin("kcells-plugin-bar", {"bar": "BarCell"}),
        "third": site.plugin("thirdparty", {"third": "ThirdCell"}),
    }


def visible(*ids: str) -> set[str]:
    """Which of the three plugins' ids are listed; the built-ins always have to be."""
    listed = {info.id for info in kcells.list_cells()}
    assert {"lstm", "gru", "simple_rnn"} <= listed
    return listed & {"foo", "bar", "third"}


def test_unset_allows_all(plugins):
    assert visible() == {"foo", "bar", "third"}
    assert registry.hidden_cells() == []


@pytest.mark.parametrize("value", ["", " ", ",", " , ,"])
def test_empty_allows_none(plugins, monkeypatch, value):
    monkeypatch.setenv("KCELLS_PLUGINS", value)
    assert visible() == set()
    assert kcells.build("lstm", 4).cell.units == 4
    assert {"foo", "bar", "third"} <= {info.id for info in registry.hidden_cells()}


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("kcells-plugin-bar", {"bar"}),
        ("kcells-plugin-foo", {"foo"}),
        ("Kcells_Plugin.Foo", {"foo"}),
        ("KCELLS--plugin__foo", {"foo"}),
        (" kcells-plugin-foo , thirdparty ", {"foo", "third"}),
        ("\tthirdparty\n,", {"third"}),
        ("kcells-plugin-bar,kcells-plugin-bar", {"bar"}),
        ("not-installed-at-all", set()),
        ("kcells", set()),
        ("kcells-plugin", set()),
        ("*", set()),
        ("bar", set()),
    ],
)
def test_a_list_allows_what_it_names(plugins, monkeypatch, value, allowed):
    monkeypatch.setenv("KCELLS_PLUGINS", value)
    assert visible() == allowed


def test_the_variable_is_read_at_every_look_up(plugins, monkeypatch):
    assert kcells.cell("bar", 4).units == 4
    monkeypatch.setenv("KCELLS_PLUGINS", "")
    with pytest.raises(UnknownCellError):
        kcells.cell("bar", 4)
    monkeypatch.setenv("KCELLS_PLUGINS", "kcells-plugin-bar")
    assert kcells.cell("bar", 4).units == 4
    monkeypatch.delenv("KCELLS_PLUGINS")
    assert visible() == {"foo", "bar", "third"}


@pytest.mark.parametrize("name", ["foo", "kcells-plugin-foo:foo", "Kcells_Plugin.Foo:foo"])
def test_a_hidden_cell_is_unknown_and_the_message_says_why(plugins, monkeypatch, name):
    monkeypatch.setenv("KCELLS_PLUGINS", "kcells-plugin-bar")
    for ask in (kcells.describe, kcells.cell, kcells.build):
        with pytest.raises(UnknownCellError) as caught:
            ask(name)
        text = str(caught.value)
        assert "Hidden by KCELLS_PLUGINS: " in text
        assert "kcells-plugin-foo" in text
        assert "One of these declares it. To use it, add its name to KCELLS_PLUGINS." in text
        assert "pip install" not in text
    assert plugins["foo"].imports == 0


def test_hidden_plugins_are_never_suggested(plugins, monkeypatch):
    monkeypatch.setenv("KCELLS_PLUGINS", "")
    with pytest.raises(UnknownCellError) as caught:
        kcells.describe("thirdd")
    assert '"third"' not in str(caught.value)


def test_cells_of_this_process_need_no_leave(plugins, monkeypatch):
    monkeypatch.setenv("KCELLS_PLUGINS", "")

    @kcells.register("own_of_trust_test")
    class OwnCell:
        state_size = 1

        def call(self, inputs, states):
            return inputs, states

    try:
        assert type(kcells.cell("own_of_trust_test")) is OwnCell
    finally:
        kcells.unregister("own_of_trust_test")
