"""Reading declarations: damage, duplicates, and changes while the process runs."""

import os
import sys

import pytest

import kcells
from kcells import registry
from kcells.errors import UnknownCellError
from kcells.registry.metadata import GROUP, declared_cells
from tests.fake_dists import FakeSite

DECLARES_FOO = "[kcells.cells]\nfoo = foo_module:FooCell\n"
NAMELESS = "Metadata-Version: 2.1\nVersion: 1.0\n"


# It is said, which the tests of it look at; the others need not repeat it.
pytestmark = pytest.mark.filterwarnings("ignore:kcells. the metadata of:UserWarning")


def declared_here() -> list[str]:
    """What this test's distributions declare: all of them are called `odd-...`."""
    return [info.qualified_id for info in kcells.list_cells() if info.source.startswith("odd-")]


def test_the_group_is_the_documented_one():
    assert GROUP == registry.GROUP == "kcells.cells"


# -- Damage: one bad distribution must not take the others with it


@pytest.mark.parametrize(
    ("entry_points", "metadata"),
    [
        (b"[kcells.cells]\nf\xff\xfe = foo_module:FooCell\n", None),
        (b"\xff\xfe\x00", None),
        (DECLARES_FOO, ""),
        (DECLARES_FOO, NAMELESS),
        (DECLARES_FOO, "Metadata-Version: 2.1\nName: \nVersion: 1.0\n"),
        (DECLARES_FOO, b"Metadata-Version: 2.1\nName: odd-\xff\nVersion: 1.0\n"),
        (DECLARES_FOO, "this is no metadata\n\n\nat all"),
        ("[kcells.cells]\njunk\n", None),
        ("[kcells.cells\nfoo = foo_module:FooCell\n", None),
        ("kcells.cells", None),
        ("[kcells.cells]\n", None),
        ("", None),
        (None, None),
    ],
)
def test_damage_of_one_leaves_the_others(site, entry_points, metadata):
    site.plugin("odd-sound", {"sound": "SoundCell"})
    site.dist_info("odd-damaged", "1.0", entry_points, metadata=metadata)
    assert "odd-sound:sound" in declared_here()
    assert kcells.describe("lstm").distribution == "kcells"
    assert kcells.cell("sound", 4).units == 4


@pytest.mark.parametrize("content", ["file", "folder"])
def test_half_removed_distribution(site, content):
    folder = site.dist_info("odd-damaged", "1.0", DECLARES_FOO)
    (folder / "METADATA").unlink()
    if content == "folder":
        (folder / "METADATA").mkdir()
    site.plugin("odd-sound", {"sound": "SoundCell"})
    assert "odd-sound:sound" in declared_here()


def test_what_cannot_be_read_is_said(site):
    folder = site.dist_info("odd-damaged", "1.0", DECLARES_FOO)
    (folder / "METADATA").unlink()
    with pytest.warns(UserWarning, match=r"the metadata of .* cannot be read, and its cells"):
        assert "lstm" in [info.id for info in kcells.list_cells()]


def test_folder_that_only_looks_like_a_distribution(site):
    (site.folder / "odd.dist-info").mkdir()
    (site.folder / "odd_file-1.0.dist-info").write_text("no folder")
    site.plugin("odd-sound", {"sound": "SoundCell"})
    assert declared_here() == ["odd-sound:sound"]


def test_bad_lines_are_passed_over_and_good_ones_are_kept(site):
    lines = "[kcells.cells]\njunk\n# foo\nfoo = foo_module:FooCell\n= nameless\nempty =\n"
    site.dist_info("odd-mixed", "1.0", lines)
    assert "odd-mixed:foo" in declared_here()


def test_bad_requirements_are_passed_over(site):
    requires = ["kcells ~~ 1", "!!", "", "kcells; nonsense == 'x'", "kcells (>=0.0.1)"]
    site.dist_info("odd-requires", "1.0", DECLARES_FOO, requires=requires)
    assert kcells.describe("foo").requires == ("kcells>=0.0.1",)


def test_no_version(site):
    site.dist_info("odd-versionless", "1.0", DECLARES_FOO, metadata="Name: odd-versionless\n")
    assert "odd-versionless:foo" in declared_here()


@pytest.mark.parametrize("target", ["", "a b:c", ".:..", ":FooCell", "foo_module:", "1:2"])
def test_a_target_that_leads_nowhere(site, target):
    site.dist_info("odd-target", "1.0", f"[kcells.cells]\nfoo = {target}\nlstn = {target}\n")
    assert kcells.describe("lstm").distribution == "kcells"
    with pytest.raises((kcells.errors.PluginLoadError, UnknownCellError)):
        kcells.cell("foo")


@pytest.mark.parametrize("spelling", ["{} : FooCell", "{}:FooCell ", "{}:FooCell [extra]"])
def test_a_target_may_be_spelled_in_every_allowed_way(site, spelling):
    plugin = site.plugin(
        "odd-unused",
        {},
        source="class FooCell:\n    state_size = 1\n    def call(self, a, b): ...\n",
    )
    site.dist_info("odd-target", "1.0", f"[kcells.cells]\nfoo = {spelling.format(plugin.module)}\n")
    assert type(kcells.cell("foo")).__name__ == "FooCell"


@pytest.mark.parametrize(
    ("traits", "paths"),
    [
        ("", ("loop",)),
        ("foo = fused", ("fused", "loop")),
        ("foo = parallel", ("parallel", "loop")),
        ("foo = parallel.fused", ("fused", "parallel", "loop")),
        ("foo = loop", ("loop",)),
        ("foo = something_later.fused", ("fused", "loop")),
        ("bar = fused", ("loop",)),
        ("foo =\n= fused\njunk", ("loop",)),
    ],
)
def test_paths_are_declared_in_a_group_of_their_own(site, traits, paths):
    site.dist_info("odd-paths", "1.0", f"{DECLARES_FOO}[kcells.cells.traits]\n{traits}\n")
    assert kcells.describe("foo").paths == paths
    assert declared_here() == ["odd-paths:foo"]


def test_names_are_normalized(site):
    site.dist_info("Odd_Spelling.Of", "1.0", DECLARES_FOO)
    assert kcells.describe("foo").distribution == "odd-spelling-of"


# -- The same distribution twice: the first on the path counts, as for import


def test_twice_on_the_path_counts_once(site, tmp_path, monkeypatch):
    first = site.plugin("kcells-plugin-foo", {"foo": "NewCell"}, version="2.0")
    second = FakeSite(tmp_path / "second")
    shadowed = second.plugin("KCells_Plugin_Foo", {"foo": "OldCell", "gone": "X"}, version="1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(second.folder)])
    assert kcells.describe("foo").version == "2.0"
    assert type(kcells.cell("foo", 4)).__name__ == "NewCell"
    assert "gone" not in [info.id for info in kcells.list_cells()]
    assert (first.imports, shadowed.imports) == (1, 0)


def test_the_order_of_the_path_decides(site, tmp_path, monkeypatch):
    site.plugin("kcells-plugin-foo", {"foo": "NewCell"}, version="2.0")
    second = FakeSite(tmp_path / "second")
    second.plugin("kcells-plugin-foo", {"foo": "OldCell"}, version="1.0")
    assert kcells.describe("foo").version == "2.0"
    monkeypatch.syspath_prepend(second.folder)
    assert kcells.describe("foo").version == "1.0"


def test_the_same_folder_twice_on_the_path(site, monkeypatch):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    monkeypatch.setattr(sys, "path", [str(site.folder), *sys.path, str(site.folder)])
    assert kcells.describe("foo").distribution == "kcells-plugin-foo"


def test_a_newer_version_that_gave_up_the_cell_shadows_the_older(site, tmp_path, monkeypatch):
    site.dist_info("kcells-plugin-foo", "2.0", None)
    second = FakeSite(tmp_path / "second")
    second.plugin("kcells-plugin-foo", {"foo": "OldCell"}, version="1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(second.folder)])
    assert "foo" not in [info.id for info in kcells.list_cells()]


def test_an_entry_that_stands_twice_in_one_file(site):
    plugin = site.plugin("odd-twice", {"foo": "FooCell"})
    site.dist_info(
        "odd-doubled", "1.0", "[kcells.cells]\n" + f"bar = {plugin.module}:FooCell\n" * 2
    )
    assert declared_here().count("odd-doubled:bar") == 1
    assert kcells.describe("bar").distribution == "odd-doubled"


# -- Changes while the process runs, without refresh


def test_a_folder_joins_and_leaves_the_path(site, tmp_path, monkeypatch):
    later = FakeSite(tmp_path / "later")
    later.plugin("odd-later", {"later": "LaterCell"})
    assert declared_here() == []
    with monkeypatch.context() as patch:
        patch.syspath_prepend(later.folder)
        assert declared_here() == ["odd-later:later"]
    assert declared_here() == []
    with pytest.raises(UnknownCellError):
        kcells.describe("later")


def test_a_distribution_appears_in_a_known_folder(site):
    assert declared_here() == []
    plugin = site.plugin("odd-new", {"new": "NewCell"})
    assert declared_here() == ["odd-new:new"]
    assert kcells.build("new", 4).cell.units == 4
    assert plugin.imports == 1


def test_a_distribution_disappears(site):
    site.plugin("odd-old", {"old": "OldCell"})
    assert declared_here() == ["odd-old:old"]
    for file in (folder := next(site.folder.glob("*.dist-info"))).iterdir():
        file.unlink()
    folder.rmdir()
    assert declared_here() == []


def test_the_current_folder_as_an_empty_entry(site, tmp_path, monkeypatch):
    here = FakeSite(tmp_path / "here")
    monkeypatch.chdir(here.folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert declared_here() == []
    here.plugin("odd-here", {"here": "HereCell"})
    assert declared_here() == ["odd-here:here"]


def test_path_entries_that_do_not_exist(site, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, "/no/such/folder", "/no/such/archive.zip"])
    site.plugin("odd-sound", {"sound": "SoundCell"})
    assert declared_here() == ["odd-sound:sound"]


def test_nothing_is_read_twice_while_nothing_changes(site):
    site.plugin("odd-sound", {"sound": "SoundCell"})
    assert declared_cells() is declared_cells()


def test_refresh_reads_what_no_folder_shows(site):
    folder = site.dist_info("odd-edited", "1.0", DECLARES_FOO)
    assert declared_here() == ["odd-edited:foo"]
    # Contents of a file change the time of the file alone.
    stamp = os.stat(site.folder).st_mtime_ns
    (folder / "entry_points.txt").write_text("[kcells.cells]\nbar = foo_module:FooCell\n")
    assert os.stat(site.folder).st_mtime_ns == stamp
    registry.refresh()
    assert declared_here() == ["odd-edited:bar"]
