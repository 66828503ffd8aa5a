"""From a name to one declaration: conflicts, ownership, suggestions."""

import pytest

import kcells
from kcells.commands.names import name_of
from kcells.errors import AmbiguousCellError, KCellsError, UnknownCellError
from kcells.registry.info import CellInfo
from kcells.registry.names import resolve


def info(qualified_id: str, version: str = "1.0") -> CellInfo:
    distribution, _, cell_id = qualified_id.partition(":")
    return CellInfo(cell_id, distribution, version, f"{distribution.replace('-', '_')}:Cell")


# -- Two distributions, one name


def test_ambiguous_bare_name_names_both_and_the_qualified_ids(site):
    one = site.plugin("kcells-plugin-one", {"twin": "OneCell"}, version="1.1")
    two = site.plugin("kcells-plugin-two", {"twin": "TwoCell"}, version="2.2")
    with pytest.raises(AmbiguousCellError) as caught:
        kcells.build("twin", 4)
    assert str(caught.value) == (
        '2 declarations of a cell "twin".\n'
        f'  "kcells-plugin-one:twin"   kcells-plugin-one 1.1   {one.module}:OneCell\n'
        f'  "kcells-plugin-two:twin"   kcells-plugin-two 2.2   {two.module}:TwoCell\n'
        "  Say which one you mean by its qualified id, the first column."
    )
    assert one.imports == two.imports == 0
    with pytest.raises(AmbiguousCellError):
        kcells.describe("twin")


def test_qualified_id_settles_the_conflict(site):
    site.plugin("kcells-plugin-one", {"twin": "OneCell"})
    two = site.plugin("kcells-plugin-two", {"twin": "TwoCell"})
    assert type(kcells.cell("kcells-plugin-one:twin", 4)).__name__ == "OneCell"
    assert two.imports == 0
    assert type(kcells.build("kcells-plugin-two:twin", 4).cell).__name__ == "TwoCell"


def test_both_claims_stay_listed(site):
    site.plugin("kcells-plugin-one", {"twin": "OneCell"})
    site.plugin("kcells-plugin-two", {"twin": "TwoCell"})
    assert [i.distribution for i in kcells.list_cells() if i.id == "twin"] == [
        "kcells-plugin-one",
        "kcells-plugin-two",
    ]


def test_hiding_one_of_two_settles_the_conflict(site, monkeypatch):
    site.plugin("kcells-plugin-one", {"twin": "OneCell"})
    site.plugin("kcells-plugin-two", {"twin": "TwoCell"})
    monkeypatch.setenv("KCELLS_PLUGINS", "kcells-plugin-two")
    assert kcells.describe("twin").distribution == "kcells-plugin-two"


# -- A built-in's name


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn"])
def test_a_plugin_never_takes_over_a_builtin(site, name):
    plugin = site.plugin("aaa-comes-first", {name: "UsurperCell"})
    assert kcells.describe(name).distribution == "kcells"
    assert type(kcells.cell(name, 4)).__module__.startswith("keras.")
    assert plugin.imports == 0


def test_the_plugin_with_a_builtins_name_has_a_qualified_id(site):
    site.plugin("aaa-comes-first", {"lstm": "OtherLSTMCell"})
    assert type(kcells.cell("aaa-comes-first:lstm", 4)).__name__ == "OtherLSTMCell"
    assert type(kcells.cell("kcells:lstm", 4)).__name__ == "LSTMCell"


# -- Spelling of a qualified id


@pytest.mark.parametrize(
    "spelling", ["kcells-plugin-foo:foo", "Kcells_Plugin.Foo:foo", "KCELLS--PLUGIN_FOO:foo"]
)
def test_the_distribution_may_be_spelled_as_pip_accepts_it(site, spelling):
    site.plugin("Kcells_Plugin.Foo", {"foo": "FooCell"})
    assert kcells.describe(spelling).qualified_id == "kcells-plugin-foo:foo"


def test_the_id_itself_is_taken_literally(site):
    site.plugin("kcells-plugin-foo", {"FooBar": "FooCell"})
    assert kcells.describe("FooBar").id == "FooBar"
    with pytest.raises(UnknownCellError):
        kcells.describe("foobar")


# -- Unknown names: whole messages, from declarations made by hand

KNOWN = [info("kcells:gru", "0.1"), info("kcells:lstm", "0.1"), info("kcells-plugin-m:mlstm")]


def message(name: str, infos=KNOWN, hidden=()) -> str:
    with pytest.raises(UnknownCellError) as caught:
        resolve(name, infos, hidden)
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, KCellsError)
    return str(caught.value)


def test_unknown_name_with_near_ones():
    assert message("mlsmt") == (
        'no installed plugin declares a cell "mlsmt".\n'
        '  Nearest: "mlstm" (kcells-plugin-m 1.0), "lstm" (kcells 0.1).\n'
        '  Searched: entry-point group "kcells.cells", 2 distributions, 3 cells.'
    )


def test_unknown_name_with_nothing_near_shows_how_to_install():
    assert message("zebra") == (
        'no installed plugin declares a cell "zebra".\n'
        '  Searched: entry-point group "kcells.cells", 2 distributions, 3 cells.\n'
        "  If a plugin of the conventional name exists, this installs it:"
        " pip install kcells-plugin-zebra"
    )


def test_the_install_hint_spells_the_package_as_pip_does():
    assert "pip install kcells-plugin-hyper-lstm2" in message("hyper_lstm2")


@pytest.mark.parametrize("name", ["", "two words", "x; rm -rf", "$(x)", "a/b", "-r", "some:zebra"])
def test_no_install_hint_for_what_is_no_plain_name(name):
    assert "pip" not in message(name)


def test_no_install_hint_where_a_name_is_near():
    assert "pip" not in message("lstn")


def test_unknown_qualified_id_suggests_the_one_that_exists():
    text = message("kcells-plugin-n:mlstm")
    assert '"mlstm" (kcells-plugin-m 1.0)' in text


def test_right_id_in_the_wrong_distribution():
    assert "Nearest" in message("kcells:mlstm")


def test_nothing_declared_at_all():
    assert '"kcells.cells", 0 distributions, 0 cells.' in message("zebra", infos=())
    assert "1 distribution, 1 cell." in message("zebra", infos=KNOWN[:1])


def test_unknown_name_shows_what_is_hidden():
    hidden = [info("kcells-plugin-b:b"), info("kcells-plugin-a:a"), info("kcells-plugin-a:c")]
    assert message("zebra", hidden=hidden) == (
        'no installed plugin declares a cell "zebra".\n'
        '  Searched: entry-point group "kcells.cells", 2 distributions, 3 cells.\n'
        "  Hidden by KCELLS_PLUGINS: kcells-plugin-a, kcells-plugin-b.\n"
        "  If a plugin of the conventional name exists, this installs it:"
        " pip install kcells-plugin-zebra"
    )


def test_a_hidden_cell_is_said_to_be_hidden_and_not_to_be_installed():
    assert message("zebra", hidden=[info("kcells-plugin-zebra:zebra")]).splitlines()[2:] == [
        "  Hidden by KCELLS_PLUGINS: kcells-plugin-zebra.",
        "  One of these declares it. To use it, add its name to KCELLS_PLUGINS.",
    ]


@pytest.mark.parametrize("name", [None, 3, kcells.RNN, ["gru"]])
def test_a_name_is_a_string(name):
    with pytest.raises(UnknownCellError) as caught:
        kcells.describe(name)
    assert str(caught.value) == f"a cell's name is a string; received {name!r}."


def test_a_typo_does_not_recommend_an_unknown_package(site):
    site.plugin("kcells-plugin-zebra", {"zebra": "ZebraCell"}, version="3.0")
    with pytest.raises(UnknownCellError) as caught:
        kcells.build("zebar", 4)
    assert 'Nearest: "zebra" (kcells-plugin-zebra 3.0)' in str(caught.value)
    assert "pip" not in str(caught.value)


def test_counts_in_the_message_are_those_of_the_list(site):
    infos = kcells.list_cells()
    with pytest.raises(UnknownCellError) as caught:
        kcells.describe("xylophone_quartet")
    distributions = len({i.distribution for i in infos})
    assert f"{distributions} distribution" in str(caught.value)
    assert f"{len(infos)} cells." in str(caught.value)


def test_an_id_with_a_colon_poses_as_nobody(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    site.plugin("odd-zoo", {"kcells-plugin-foo:foo": "PosingCell", "kcells:lstm": "OtherCell"})
    assert kcells.describe("kcells-plugin-foo:foo").distribution == "kcells-plugin-foo"
    assert kcells.describe("kcells:lstm").distribution == "kcells"
    posing = kcells.describe("odd-zoo:kcells-plugin-foo:foo")
    assert (posing.distribution, posing.class_name) == ("odd-zoo", "PosingCell")
    assert name_of(posing, kcells.list_cells()) == "odd-zoo:kcells-plugin-foo:foo"


# -- Other names for what there is, and what there could be

STAR = CellInfo("star", "kcells-plugin-s", "2.0", "stars:STARCell", aliases=("StackableRecurrent",))


@pytest.mark.parametrize(
    "name", ["STARCell", "STAR", "Star", "star_cell", "StarLayer", "stackable_recurrent"]
)
def test_another_spelling_is_told_the_id(name):
    assert message(name, infos=[*KNOWN, STAR]) == (
        f'no installed plugin declares a cell "{name}".\n'
        '  It is "star" here (kcells-plugin-s 2.0, class STARCell).\n'
        '  Searched: entry-point group "kcells.cells", 3 distributions, 4 cells.'
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [("mlstm", "mlstm"), ("MultiplicativeLSTMCell", "mlstm"), ("ConvLSTM2D", "conv_lstm")],
)
def test_a_cell_of_a_plugin_that_is_not_installed(name, found):
    plugin = {"mlstm": "kcells-plugin-mlstm", "conv_lstm": "kcells-plugin-classic"}[found]
    text = message(name, infos=KNOWN[:2])  # "lstm" is near, and not what was meant
    assert f'"{found}" (class ' in text
    assert f"of {plugin}, which is not installed: pip install {plugin}" in text
    assert "Nearest" not in text


def test_what_is_hidden_is_not_to_be_installed():
    hidden = [info("kcells-plugin-mlstm:mlstm")]
    text = message("mlstm", infos=KNOWN[:2], hidden=hidden)
    assert "add its name to KCELLS_PLUGINS" in text
    assert "pip" not in text


@pytest.mark.parametrize("name", ["", "cell", "-", "layer"])
def test_no_name_at_all_means_nothing(name):
    assert "It is" not in message(name, infos=[*KNOWN, STAR])


def test_aliases_are_read_from_the_metadata(site):
    site.plugin("kcells-plugin-zoo", {"zebra": "ZebraCell"})
    folder = next(site.folder.glob("kcells_plugin_zoo-*.dist-info"))
    with (folder / "entry_points.txt").open("a", encoding="utf-8") as file:
        file.write("\n[kcells.cells.aliases]\nStripedHorse = zebra\nOther = nobody\n")
    kcells.registry.refresh()
    assert kcells.describe("zebra").aliases == ("StripedHorse",)
    with pytest.raises(UnknownCellError, match='It is "zebra" here'):
        kcells.build("striped-horse", 4)


def test_the_names_of_the_readme_and_of_the_peers():
    for name, found in {"LSTM": "lstm", "GRUCell": "gru", "CuDNNLSTM": "lstm"}.items():
        with pytest.raises(UnknownCellError, match=f'It is "{found}" here'):
            kcells.build(name, 4)
