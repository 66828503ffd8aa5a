"""`register` and `unregister`: names that last for this process."""

import keras
import numpy as np
import pytest

import kcells
from kcells.errors import AmbiguousCellError, KCellsError, RegistrationError, UnknownCellError
from kcells.registry.info import SESSION


@pytest.fixture(autouse=True)
def _clean():
    """Takes back what a test has registered."""
    yield
    for info in kcells.list_cells():
        if info.distribution == SESSION:
            kcells.unregister(info.id)


class OwnCell(keras.layers.SimpleRNNCell):
    """A cell that nobody has published."""


class OtherCell(keras.layers.SimpleRNNCell):
    """Another one."""


def test_registered_class_is_built_by_name():
    assert kcells.register("own", OwnCell) is OwnCell
    layer = kcells.build("own", 4, return_sequences=True)
    assert type(layer.cell) is OwnCell
    assert layer(np.ones((2, 3, 5), "float32")).shape == (2, 3, 4)


def test_decorator_returns_the_class():
    @kcells.register("own")
    class DecoratedCell(OwnCell):
        pass

    assert isinstance(DecoratedCell, type)
    assert type(kcells.cell("own", 4)) is DecoratedCell


def test_it_is_listed_and_described():
    kcells.register("own", OwnCell)
    info = kcells.describe("own")
    assert info in kcells.list_cells()
    assert info.qualified_id == f"{SESSION}:own"
    assert info.source == SESSION
    assert info.version == ""
    assert info.target == f"{OwnCell.__module__}:OwnCell"
    assert type(kcells.cell(info.qualified_id, 4)) is OwnCell


def test_registering_again_replaces():
    kcells.register("own", OwnCell)
    kcells.register("own", OtherCell)
    assert type(kcells.cell("own", 4)) is OtherCell
    assert [info.id for info in kcells.list_cells()].count("own") == 1


def test_unregister_takes_it_back():
    kcells.register("own", OwnCell)
    kcells.unregister("own")
    with pytest.raises(UnknownCellError, match='declares a cell "own"'):
        kcells.cell("own", 4)


def test_unregister_what_is_not_registered():
    with pytest.raises(UnknownCellError) as caught:
        kcells.unregister("own")
    assert str(caught.value) == ('no cell "own" was registered in this process. Registered: none.')
    kcells.register("b_cell", OwnCell)
    kcells.register("a_cell", OwnCell)
    with pytest.raises(UnknownCellError, match=r'Registered: "a_cell", "b_cell"\.$'):
        kcells.unregister("own")


def test_unregister_leaves_installed_cells_alone():
    with pytest.raises(UnknownCellError, match='no cell "lstm" was registered'):
        kcells.unregister("lstm")
    assert kcells.cell("lstm", 4).units == 4


@pytest.mark.parametrize(
    "name", ["", " ", "two words", "a:b", "a.b", "a/b", "a>b", None, 3, ("a",)]
)
def test_names_that_cannot_be(name):
    with pytest.raises(RegistrationError) as caught:
        kcells.register(name, OwnCell)
    assert str(caught.value) == (
        f"{name!r} cannot be a cell's name: use letters, digits, _ and - only."
    )
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, KCellsError)


@pytest.mark.parametrize("name", ["own", "own_2", "own-2", "Own", "2own", "_own"])
def test_names_that_can_be(name):
    kcells.register(name, OwnCell)
    assert type(kcells.cell(name, 4)) is OwnCell


def test_the_decorator_checks_too():
    with pytest.raises(RegistrationError, match="'two words' cannot be a cell's name"):
        kcells.register("two words")(OwnCell)
    with pytest.raises(RegistrationError, match='as "own": it is a function, not a class'):

        @kcells.register("own")
        def build_cell(units):
            return OwnCell(units)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (OwnCell(4), "it is an OwnCell, not a class"),
        (3, "it is an int, not a class"),
        (len, "it is a builtin_function_or_method, not a class"),
        (dict, "it has no method call(inputs, states)"),
    ],
)
def test_what_is_no_cell_class(candidate, reason):
    with pytest.raises(RegistrationError) as caught:
        kcells.register("own", candidate)
    assert str(caught.value) == f'cannot register {candidate!r} as "own": {reason}.'


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn"])
def test_names_of_builtins_are_taken(name):
    with pytest.raises(RegistrationError) as caught:
        kcells.register(name, OwnCell)
    assert str(caught.value) == (
        f'cannot register OwnCell as "{name}": kcells {kcells.__version__} declares this name.\n'
        "  Choose another name."
    )


def test_names_of_installed_plugins_are_taken(site):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, version="1.2")
    with pytest.raises(RegistrationError, match=r"kcells-plugin-foo 1\.2 declares this name"):
        kcells.register("foo", OwnCell)
    assert plugin.imports == 0


def test_a_plugin_installed_after_registering_is_ambiguous(site):
    kcells.register("foo", OwnCell)
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    with pytest.raises(AmbiguousCellError, match=f'"{SESSION}:foo"'):
        kcells.cell("foo", 4)
    assert type(kcells.cell(f"{SESSION}:foo", 4)) is OwnCell
    assert type(kcells.cell("kcells-plugin-foo:foo", 4)).__name__ == "FooCell"


def test_a_distribution_called_session_is_a_distribution(site):
    site.plugin("session", {"foo": "FooCell"})
    assert type(kcells.cell("foo", 4)).__name__ == "FooCell"
