"""A plugin's code runs when one of its cells is first used, and not before."""

import numpy as np
import pytest

import kcells
from kcells.errors import UnknownCellError

EXPLODES = 'raise AssertionError("nobody asked for this plugin")'


def test_listing_and_describing_import_nothing(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=EXPLODES)
    listed = [info for info in kcells.list_cells() if info.distribution == "kcells-plugin-foo"]
    assert listed == [kcells.describe("foo")] == [kcells.describe("kcells-plugin-foo:foo")]
    assert plugin.imports == 0


def test_info_is_complete_without_importing(site):
    plugin = site.plugin(
        "kcells-plugin-foo",
        {"foo": "FooCell"},
        version="2.5.1",
        requires=["numpy", "kcells>=0.1,<9"],
        source=EXPLODES,
    )
    info = kcells.describe("foo")
    assert info.id == "foo"
    assert info.distribution == "kcells-plugin-foo"
    assert info.version == "2.5.1"
    assert info.target == f"{plugin.module}:FooCell"
    assert info.class_name == "FooCell"
    assert info.summary == "Cells of kcells-plugin-foo."
    assert info.qualified_id == "kcells-plugin-foo:foo"
    assert info.source == "kcells-plugin-foo 2.5.1"
    assert len(info.requires) == 1
    assert info.requires[0].startswith("kcells")


def test_list_is_sorted_and_has_the_builtins(site):
    site.plugin("kcells-plugin-b", {"zzz": "A", "aaa": "B"}, source=EXPLODES)
    infos = kcells.list_cells()
    assert infos == sorted(infos)
    assert {"kcells:lstm", "kcells:gru", "kcells:simple_rnn"} <= {i.qualified_id for i in infos}
    assert infos[0].id == "aaa"


def test_an_error_imports_nothing(site):
    plugin = site.plugin("kcells-plugin-foo", {"quagga": "QuaggaCell"}, source=EXPLODES)
    with pytest.raises(UnknownCellError, match="quagga"):
        kcells.build("quaga", 4)
    assert plugin.imports == 0


def test_registering_imports_nothing(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=EXPLODES)

    class OwnCell:
        state_size = 1

        def call(self, inputs, states):
            return inputs, states

    kcells.register("own", OwnCell)
    kcells.unregister("own")
    assert plugin.imports == 0


def test_building_imports_once(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell", "bar": "BarCell"})
    layer = kcells.build("foo", 4)
    assert plugin.imports == 1
    assert layer(np.ones((2, 3, 5), "float32")).shape == (2, 4)
    assert type(kcells.cell("kcells-plugin-foo:foo", 4)) is type(layer.cell)
    assert type(kcells.cell("bar", 4)).__name__ == "BarCell"
    assert plugin.imports == 1


def test_building_one_plugin_leaves_the_others_alone(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    other = site.plugin("kcells-plugin-other", {"other": "OtherCell"}, source=EXPLODES)
    kcells.build("foo", 4)
    kcells.build("lstm", 4)
    assert other.imports == 0


def test_a_failed_import_is_not_repeated(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    for _ in range(3):
        with pytest.raises(kcells.errors.PluginLoadError):
            kcells.cell("foo", 4)
    assert plugin.imports == 1
