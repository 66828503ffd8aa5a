"""A plugin that does not load breaks nothing until it is asked for, and then says why."""

import pytest

import kcells
from kcells import registry
from kcells.errors import CellError, IncompatiblePluginError, KCellsError, PluginLoadError


def fails(name: str) -> PluginLoadError:
    """The error of asking for `name`, after everything else was seen to work."""
    assert name in [info.id for info in kcells.list_cells()]
    assert kcells.describe(name).id == name
    assert kcells.cell("gru", 4).units == 4
    with pytest.raises(PluginLoadError) as caught:
        kcells.build(name, 4)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, KCellsError)
    return caught.value


def test_import_that_raises(site):
    plugin = site.plugin(
        "kcells-plugin-foo",
        {"foo": "FooCell"},
        source="""
        def find_fault():
            raise RuntimeError("no such kernel: \u03bb")

        find_fault()
        """,
    )
    error = fails("foo")
    lines = str(error).splitlines()
    assert lines[0] == (
        'cell "foo" of kcells-plugin-foo 1.0 cannot be loaded:'
        f" importing {plugin.module} raised RuntimeError: no such kernel: \u03bb"
    )
    assert lines[1] == "  | Traceback (most recent call last):"
    assert any(line.startswith("  | ") and "in find_fault" in line for line in lines)
    assert lines[-1] == (
        "  Mend or update the plugin (pip install -U kcells-plugin-foo),"
        " or remove it (pip uninstall kcells-plugin-foo)."
    )
    assert isinstance(error.__cause__, RuntimeError)


def test_syntax_error(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="def broken(:\n    pass\n")
    error = fails("foo")
    assert "raised SyntaxError: invalid syntax" in str(error)
    assert isinstance(error.__cause__, SyntaxError)


def test_module_that_is_not_there(site):
    site.plugin("kcells-plugin-foo", {"foo": "no_such_module_at_all.cells:FooCell"})
    error = fails("foo")
    assert "importing no_such_module_at_all.cells raised ModuleNotFoundError" in str(error)


def test_dependency_that_is_not_there(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="import no_such_dependency")
    assert "No module named 'no_such_dependency'" in str(fails("foo"))


def test_plugin_that_exits(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="import sys\nsys.exit(3)")
    assert "raised SystemExit: 3" in str(fails("foo"))


def test_missing_attribute(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "BarCell"}, source="FooCell = 1")
    error = fails("foo")
    assert str(error) == (
        'cell "foo" of kcells-plugin-foo 1.0 cannot be loaded:'
        f' {plugin.module} has no attribute "BarCell".\n'
        f'  Its entry point says "{plugin.module}:BarCell". Tell the authors of the plugin.'
    )


def test_module_without_an_attribute(site):
    site.module("module_alone_is_no_cell", "")
    site.dist_info("kcells-plugin-foo", "1.0", "[kcells.cells]\nfoo = module_alone_is_no_cell\n")
    assert 'Its entry point says "module_alone_is_no_cell".' in str(fails("foo"))


def test_attribute_that_raises_when_it_is_read(site):
    site.plugin(
        "kcells-plugin-foo",
        {"foo": "FooCell"},
        source="""
        def __getattr__(name):
            import no_such_dependency
        """,
    )
    assert "No module named 'no_such_dependency'" in str(fails("foo"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def FooCell(units): pass", "it is a function, not a class"),
        ("FooCell = 3", "it is an int, not a class"),
        ("FooCell = None", "it is a NoneType, not a class"),
        (
            "class FooCell:\n    state_size = 1",
            "it has no method call(inputs, states)",
        ),
        (
            "class FooCell:\n    state_size = 1\n    call = 3",
            "it has no method call(inputs, states)",
        ),
    ],
)
def test_what_is_no_cell(site, source, reason):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=source)
    error = fails("foo")
    assert str(error) == (
        'cell "foo" of kcells-plugin-foo 1.0 cannot be loaded:'
        f" {plugin.module}:FooCell is no cell: {reason}.\n"
        "  A cell is a class with call(inputs, states) and state_size."
    )
    assert isinstance(error.__cause__, CellError)


def test_class_inside_of_a_class(site):
    site.plugin(
        "kcells-plugin-foo",
        {"foo": "Cells.Foo", "bar": "Cells.Bar"},
        source="""
        class Cells:
            class Foo:
                state_size = 1

                def call(self, inputs, states):
                    return inputs, states
        """,
    )
    assert type(kcells.cell("foo")).__qualname__ == "Cells.Foo"
    assert 'has no attribute "Cells.Bar"' in str(fails("bar"))


def test_one_broken_cell_leaves_its_neighbour_alone(site):
    source = """
    class FooCell:
        state_size = 1

        def call(self, inputs, states):
            return inputs, states
    """
    site.plugin("kcells-plugin-foo", {"foo": "FooCell", "bar": "BarCell"}, source=source)
    fails("bar")
    assert type(kcells.cell("foo")).__name__ == "FooCell"


@pytest.mark.parametrize(
    "requirement", ["kcells>=99", "kcells<0.1", f"kcells!={kcells.__version__},<99"]
)
def test_plugin_for_another_kcells(site, requirement):
    if requirement.startswith("kcells!="):
        requirement = f"kcells!={kcells.__version__},<99"
    plugin = site.plugin(
        "kcells-plugin-old", {"old": "OldCell"}, version="0.0.3", requires=[requirement]
    )
    error = fails("old")
    assert isinstance(error, IncompatiblePluginError)
    (shown,) = kcells.describe("old").requires
    assert str(error) == (
        'cell "old" of kcells-plugin-old 0.0.3 cannot be loaded:'
        f" it requires {shown}, and this is kcells {kcells.__version__}.\n"
        "  Update it (pip install -U kcells-plugin-old),"
        f' or install a kcells that it accepts (pip install "{shown}").'
    )
    assert type(fails("old")) is IncompatiblePluginError
    assert plugin.imports == 0


@pytest.mark.parametrize(
    "requirement",
    [
        "kcells",
        "Kcells>=0.0.1",
        "kcells>=99; python_version < '3'",
        "kcells>=99; extra == 'later'",
        "numpy>=99",
    ],
)
def test_plugin_for_this_kcells(site, requirement):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, requires=[requirement])
    assert kcells.cell("foo", 4).units == 4


def test_asking_again_gives_the_same_error_with_its_cause(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    first, second = fails("foo"), fails("foo")
    assert str(first) == str(second)
    assert second.__cause__ is first.__cause__
    assert isinstance(second.__cause__, ZeroDivisionError)


def test_a_mended_plugin_loads_after_refresh(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    fails("foo")
    plugin.path.write_text(
        "class FooCell:\n    state_size = 1\n    def call(self, inputs, states):\n        ...\n"
    )
    fails("foo")
    registry.refresh()
    assert type(kcells.cell("foo")).__name__ == "FooCell"


def test_a_broken_cell_in_a_stack(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    with pytest.raises(PluginLoadError, match="raised ZeroDivisionError"):
        kcells.build(["gru", "foo"], 4)
