"""Threads, forks and reloads get the same answers."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import kcells
from kcells import registry
from kcells.errors import PluginLoadError
from kcells.registry import loading, metadata
from kcells.registry.info import SESSION
from tests.fake_dists import run_python

THREADS = 8

SLOW_CELL = """
import time

time.sleep(0.3)

class FooCell:
    state_size = 1

    def call(self, inputs, states):
        return inputs, states

class BarCell(FooCell):
    pass
"""


def at_once(*functions):
    """Calls `functions` in a thread each, all at the same moment; returns the results."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


def test_threads_share_one_slow_import(site):
    plugin = site.plugin(
        "kcells-plugin-slow", {"slow": "FooCell", "slow_too": "BarCell"}, source=SLOW_CELL
    )
    names = ["slow", "slow_too", "kcells-plugin-slow:slow", "slow"] * (THREADS // 4)
    classes = at_once(*(lambda name=name: registry.load(name) for name in names))
    assert plugin.imports == 1
    assert {cls.__name__ for cls in classes} == {"FooCell", "BarCell"}
    assert len(set(map(id, classes))) == 2


def test_threads_share_one_failure(site):
    source = "import time\ntime.sleep(0.1)\n1 / 0"
    site.plugin("kcells-plugin-bad", {"bad": "FooCell"}, source=source)

    def ask():
        with pytest.raises(PluginLoadError, match="ZeroDivisionError") as caught:
            registry.load("bad")
        return caught.value

    errors = at_once(*[ask] * THREADS)
    assert len({type(error) for error in errors}) == 1


def test_a_slow_import_does_not_hold_up_other_cells(site):
    released = threading.Event()
    site.plugin(
        "kcells-plugin-stuck",
        {"stuck": "FooCell"},
        source="""
        from kcells.registry import test_hook

        test_hook.wait(30)

        class FooCell:
            state_size = 1

            def call(self, inputs, states):
                return inputs, states
        """,
    )
    site.plugin("kcells-plugin-quick", {"quick": "QuickCell"})
    registry.test_hook = released
    try:
        with ThreadPoolExecutor(1) as pool:
            stuck = pool.submit(registry.load, "stuck")
            assert kcells.cell("quick", 4).units == 4
            assert kcells.describe("stuck").id == "stuck"
            assert not stuck.done()
            released.set()
            assert stuck.result(30).__name__ == "FooCell"
    finally:
        released.set()
        del registry.test_hook


def test_a_plugin_may_use_kcells_while_it_is_imported(site):
    site.plugin("kcells-plugin-inner", {"inner": "InnerCell"})
    site.plugin(
        "kcells-plugin-outer",
        {"outer": "OuterCell"},
        source="""
        import kcells

        assert kcells.describe("outer").id == "outer"
        OuterCell = type(kcells.cell("inner", 4))
        """,
    )
    assert type(kcells.cell("outer", 4)).__name__ == "InnerCell"


class OwnCell:
    """A cell of this process."""

    state_size = 1

    def call(self, inputs, states):
        return inputs, states


def test_listing_while_names_come_and_go(site):
    def churn():
        for k in range(20):
            kcells.register("own_of_churn", OwnCell)
            site.dist_info(f"churn-{threading.get_ident()}-{k}", "1.0", "[kcells.cells]\n")
            registry.refresh()

    def watch():
        for _ in range(20):
            assert "lstm" in {info.id for info in kcells.list_cells()}
            assert kcells.describe("gru").distribution == "kcells"

    try:
        at_once(churn, watch, churn, watch)
        assert kcells.describe("own_of_churn").distribution == SESSION
    finally:
        kcells.unregister("own_of_churn")


class MeddledLock:
    """A lock; right after it was let go for the nth time, another thread does something."""

    def __init__(self, meddle, nth):
        self.lock, self.meddle, self.left = threading.Lock(), meddle, nth

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()
        self.left -= 1
        if self.left == 0:
            at_once(self.meddle)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_name_that_another_thread_takes_back_while_it_is_looked_up(monkeypatch, nth, replaced):
    class LocalCell(OwnCell):
        pass

    kcells.register("local", LocalCell)

    def meddle():
        kcells.register("local", OwnCell) if replaced else kcells.unregister("local")

    monkeypatch.setattr(registry, "_lock", MeddledLock(meddle, nth))
    assert registry.load("local") is LocalCell
    monkeypatch.undo()
    registry._session.pop("local", None)


def test_metadata_that_were_read_before_a_refresh_are_not_kept(site, monkeypatch):
    read = metadata.read_distributions

    def read_while_another_refreshes(found):
        infos = [info for info in read(found) if info.id != "late"]
        at_once(registry.refresh)
        return iter(infos)

    site.plugin("kcells-plugin-late", {"late": "LateCell"})
    registry.refresh()
    monkeypatch.setattr(metadata, "read_distributions", read_while_another_refreshes)
    assert "late" not in {info.id for info in registry.list_cells()}
    monkeypatch.undo()
    assert "late" in {info.id for info in registry.list_cells()}


def test_one_thread_fails_where_another_one_succeeds(site, monkeypatch):
    """Such as on a module that Python has only half imported, to get out of a deadlock."""
    site.plugin("kcells-plugin-half", {"half": "HalfCell"})

    def fail_after_the_other(info):
        monkeypatch.undo()
        at_once(lambda: registry.load("half"))
        raise PluginLoadError("half imported")

    monkeypatch.setattr(loading, "_import", fail_after_the_other)
    with pytest.raises(PluginLoadError, match="half imported"):
        registry.load("half")
    assert registry.load("half").__name__ == "HalfCell"


# What follows happens in a process that has the registry of kcells and no Keras, so
# that no backend has started threads of its own, which no fork survives.
REGISTRY_ALONE = """
import importlib, importlib.util, json, os, signal, sys, threading, types

spec = importlib.util.find_spec("kcells")
package = types.ModuleType("kcells")
package.__path__ = list(spec.submodule_search_locations)
sys.modules["kcells"] = package
from kcells import registry

def answers():
    return [
        [info.qualified_id for info in registry.list_cells()],
        registry.describe("foo").target,
        registry.load("foo").__name__,
    ]

def in_child(function):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        code = 1
        try:
            os.write(writer, json.dumps(function()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if status == 0 else f"the child ended with status {status}"
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def in_registry_alone(site, tmp_path, code):
    return json.loads(run_python(REGISTRY_ALONE + code, cwd=tmp_path, path=[site.folder]))


@forks
def test_forked_children_answer_like_their_parent(site, tmp_path):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=SLOW_CELL)
    before, parent, after = in_registry_alone(
        site,
        tmp_path,
        """
before = in_child(answers)      # the parent has read nothing yet
listed = registry.list_cells()
listed_only = in_child(answers) # the parent has read the metadata
parent = answers()
print(json.dumps([before, parent, in_child(answers)]))
assert before == listed_only
""",
    )
    assert before == parent == after
    assert "kcells-plugin-foo:foo" in parent[0]
    # Two children and the parent imported it; the last child found it imported.
    assert plugin.imports == 3


@forks
def test_fork_while_another_thread_reads_metadata(site, tmp_path):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=SLOW_CELL)
    child, parent = in_registry_alone(
        site,
        tmp_path,
        """
class SlowFinder:
    # Asked for distributions like any finder; takes its time.
    def find_spec(self, *args):
        return None

    def find_distributions(self, context):
        if not parent_pid == os.getpid():
            return []
        reading.set()
        finish.wait(30)
        return []

parent_pid, reading, finish = os.getpid(), threading.Event(), threading.Event()
sys.meta_path.append(SlowFinder())
thread = threading.Thread(target=registry.list_cells)
thread.start()
assert reading.wait(30)
child = in_child(answers)
finish.set()
thread.join()
print(json.dumps([child, answers()]))
""",
    )
    assert child == parent


def test_reloaded_modules_answer_as_before(site, tmp_path):
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source=SLOW_CELL)
    before, after, same = in_registry_alone(
        site,
        tmp_path,
        """
before, cls = answers(), registry.load("foo")
for name in ("trust", "metadata", "names", "loading"):
    importlib.reload(sys.modules["kcells.registry." + name])
importlib.reload(registry)
print(json.dumps([before, answers(), registry.load("foo") is cls]))
""",
    )
    assert before == after
    assert same
    assert plugin.imports == 1
