"""`kcells doctor`: what its children report, and what it makes of it."""

import json
import re

import keras
import pytest

from kcells.commands import doctor, doctor_child
from kcells.commands.children import BACKENDS, ChildError

BACKEND = keras.backend.backend()

SOUND = [
    {"kind": "backend", "version": "9.9", "device": "cpu", "devices": ["cpu:0"], "kernels": []},
    {"kind": "runs"},
]


@pytest.fixture
def children(monkeypatch):
    """Stands in for the processes: by backend what they report, and how they end.

    A story whose key is a backend and the cells that are left out is that of a later process.
    """
    stories = {}

    def reports(module, request, backend, timeout):
        assert module == doctor_child.__name__
        facts, error = stories.get((backend, *request) if request else backend, (SOUND, ""))
        yield from (dict(fact) for fact in facts)
        if error:
            raise ChildError(error)

    monkeypatch.setattr(doctor, "reports", reports)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    return stories


def examined(kcells_command, *arguments):
    done = kcells_command("doctor", "--json", *arguments)
    return json.loads(done.output), done.exit_code


def test_nothing_is_broken(children, kcells_command):
    data, code = examined(kcells_command)
    assert (data["problems"], code) == ([], 0)
    assert data["keras"] == keras.__version__
    assert data["default_backend"] == "jax"
    assert [backend["name"] for backend in data["backends"]] == list(BACKENDS)
    shown = kcells_command("doctor").output
    assert "jax *" in shown
    assert "Nothing is broken." in shown
    assert max(map(len, shown.splitlines()[3:])) <= 80


def test_kernels_are_named(children, kcells_command):
    kernels = [{"name": "cudnn", "builtins": ["lstm", "gru"], "dtypes": ["float32"]}]
    children["jax"] = ([SOUND[0] | {"kernels": kernels}, SOUND[1]], "")
    assert "cudnn lstm+gru" in kcells_command("doctor").output


def test_a_backend_does_not_start(children, kcells_command):
    children["torch"] = ([], "ended with exit code 1\nOSError: libtorch is broken")
    data, code = examined(kcells_command)
    assert (data["problems"], code) == (["backend torch is broken"], 1)
    shown = kcells_command("doctor").output
    assert "the process ended with exit code 1\nOSError: libtorch is broken" in shown


def test_a_backend_starts_and_does_not_run(children, kcells_command):
    children["torch"] = (SOUND[:1], "was killed by signal 4")
    assert examined(kcells_command)[0]["problems"] == ["backend torch is broken"]


def test_a_plugin_does_not_load(site, children, kcells_command):
    site.plugin("odd-zoo", {"foo": "FooCell", "bar": "BarCell"})
    facts = [
        {"kind": "plugin", "cell": "odd-zoo:foo", "error": "ImportError: [bold] no\nTraceback"},
        {"kind": "plugin", "cell": "odd-zoo:bar", "error": ""},
    ]
    children.update(dict.fromkeys(BACKENDS, (SOUND + facts, "")))
    data, code = examined(kcells_command)
    assert code == 1
    assert data["problems"] == [f"cell odd-zoo:foo does not load on {name}" for name in BACKENDS]
    rows = {row["cell"]: row for row in data["plugins"]}
    assert rows["bar"]["loads_on"] == list(BACKENDS)
    shown = kcells_command("doctor").output
    assert shown.count("ImportError: [bold] no\nTraceback") == 1


def test_a_plugin_takes_the_process_with_it(site, children, kcells_command):
    site.plugin("odd-zoo", {"foo": "FooCell"})
    loading = {"kind": "loading", "cell": "odd-zoo:foo"}
    children["jax"] = ([*SOUND, loading], "was killed by signal 11")
    data, _ = examined(kcells_command)
    assert data["problems"] == ["cell odd-zoo:foo does not load on jax"]
    (backend,) = [b for b in data["backends"] if b["name"] == "jax"]
    assert backend["plugins"] == {"odd-zoo:foo": "the process was killed by signal 11"}


def test_the_plugins_after_it_are_tried_in_another_process(site, children, kcells_command):
    site.plugin("odd-zoo", {"a": "ACell", "b": "BCell", "c": "CCell", "d": "DCell"})
    loading = {name: {"kind": "loading", "cell": f"odd-zoo:{name}"} for name in "bc"}
    loaded = {name: {"kind": "plugin", "cell": f"odd-zoo:{name}", "error": ""} for name in "ad"}
    children["jax"] = ([*SOUND, loaded["a"], loading["b"]], "was killed by signal 11")
    known = ("jax", "odd-zoo:a", "odd-zoo:b")
    children[known] = ([*SOUND, loading["c"]], "stopped after 120 s")
    children[*known, "odd-zoo:c"] = ([*SOUND, loaded["d"]], "")
    data, code = examined(kcells_command, "--backend", "jax")
    assert code == 1
    assert data["problems"] == [f"cell odd-zoo:{name} does not load on jax" for name in "bc"]
    rows = {row["cell"]: row["loads_on"] for row in data["plugins"] if row["cell"] in "abcd"}
    assert rows == {"a": ["jax"], "b": [], "c": [], "d": ["jax"]}


def test_a_later_process_does_not_start(site, children, kcells_command):
    loading = {"kind": "loading", "cell": "odd-zoo:foo"}
    children["jax"] = ([*SOUND, loading], "was killed by signal 11")
    children["jax", "odd-zoo:foo"] = ([], "ended with exit code 1")
    data, _ = examined(kcells_command, "--backend", "jax")
    assert data["problems"] == ["backend jax is broken"]
    assert data["backends"][0]["error"] == "the process ended with exit code 1"


def test_no_backend(children, kcells_command, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    data, code = examined(kcells_command)
    assert code == 1
    assert 'no backend is installed: pip install "kcells[tensorflow]"' in data["problems"][0]
    assert data["problems"][1] == "Keras is set to jax, which is not installed"
    assert "not installed" in kcells_command("doctor").output


def test_one_backend(children, kcells_command):
    data, code = examined(kcells_command, "--backend", "torch")
    assert ([backend["name"] for backend in data["backends"]], code) == (["torch"], 0)


def test_ambiguous_and_hidden(site, children, kcells_command, monkeypatch):
    site.plugin("odd-one", {"foo": "FooCell"})
    site.plugin("odd-two", {"foo": "FooCell"})
    assert examined(kcells_command)[0]["ambiguous"] == ["odd-one:foo", "odd-two:foo"]
    assert "odd-one:foo, odd-two:foo" in kcells_command("doctor").output
    monkeypatch.setenv("KCELLS_PLUGINS", "odd-one")
    data, code = examined(kcells_command)
    assert code == 0
    assert data["ambiguous"] == []
    assert "odd-two:foo" in data["hidden"]
    shown = " ".join(kcells_command("doctor").output.split())
    assert "KCELLS_PLUGINS=odd-one hides" in shown
    assert re.search(r"kcells-plugin-mlstm \(\d+ cells\),.* odd-two \(1 cell\)\.", shown)


def test_what_a_child_reports(site):
    site.plugin("odd-broken", {"broken": "BrokenCell"}, source="1 / 0")
    site.plugin("odd-zoo", {"foo": "FooCell"})
    facts = []
    doctor_child.examine([], lambda **fact: facts.append(fact))
    assert [fact["kind"] for fact in facts[:3]] == ["backend", "runs", "loading"]
    assert facts[0]["device"] in ("cpu", "gpu")
    assert facts[0]["devices"]
    errors = {fact["cell"]: fact["error"] for fact in facts if fact["kind"] == "plugin"}
    assert errors["odd-zoo:foo"] == ""
    assert "ZeroDivisionError" in errors["odd-broken:broken"]
    assert "Traceback" in errors["odd-broken:broken"]
    json.dumps(facts)
    left, *known = errors
    later = []
    doctor_child.examine(known, lambda **fact: later.append(fact))
    assert [fact["cell"] for fact in later[2:]] == [left, left]


@pytest.mark.once
@pytest.mark.slow
def test_a_real_process(site, kcells_command):
    site.plugin("odd-exit", {"leaves": "LeavesCell"}, source="import os; os._exit(0)")
    data, code = examined(kcells_command, "--backend", BACKEND)
    assert code == 1
    assert data["problems"] == [f"cell odd-exit:leaves does not load on {BACKEND}"]
    (backend,) = data["backends"]
    assert backend["works"]
    assert backend["version"]
    assert "ended with exit code 0, before" in backend["plugins"]["odd-exit:leaves"]
    assert backend["plugins"]["kcells:simple_rnn"] == ""
