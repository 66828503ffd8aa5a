"""`kcells check`."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from kcells.commands import check, check_child
from kcells.commands.children import ChildError
from kcells.testing import Result, laws

BACKEND = keras.backend.backend()
OTHER = "torch" if BACKEND != "torch" else "jax"

ASKED = {
    "cell": "gru",
    "arguments": None,
    "features": None,
    "only": ["state_size"],
    "seed": 0,
    "record": None,
    "recorded": [],
}


KILLED = {"kind": "killed"}


def begun(law="mask", case=""):
    facts = {"law": law, "case": case, "cell": '"gru"', "text": "A mask is kept.", "reproduce": "x"}
    return {"kind": "law", **facts}


def result(law="mask", status="passed", backend="jax", **facts):
    known = {"law": law, "case": "", "status": status, "cell": '"gru"', "backend": backend}
    rest = dict.fromkeys(["reason", "leaf", "text", "reproduce", "traceback"], "")
    bad = status in ("failed", "passed unexpectedly")
    numbers = {"difference": None, "allowed": None}
    return {"kind": "result", "bad": bad, **known, **rest, **numbers, **facts}


@pytest.fixture
def children(monkeypatch):
    """Stands in for the processes: what they are asked, and by backend what they report."""
    stories, asked = {}, []

    def reports(module, request, backend, timeout):
        assert module == check_child.__name__
        asked.append({**request, "backend": backend})
        for fact in stories.get(backend, [result(backend=backend)]):
            if fact == KILLED:
                raise ChildError("was killed by signal 11\nthe last words")
            yield dict(fact)
        if request["record"]:
            Path(request["record"]).touch()

    monkeypatch.setattr(check, "reports", reports)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    stories["asked"] = asked
    return stories


def test_keras_own_backend(children, kcells_command):
    done = kcells_command("check", "gru")
    assert done.exit_code == 0
    assert "jax: 1 passed" in done.output
    (asked,) = children["asked"]
    assert asked == {**ASKED, "only": [], "backend": "jax"}


def test_options_reach_the_kit(children, kcells_command):
    options = ["--units", 7, "--features", 5, "-a", "use_bias=false", "--seed", 3]
    kcells_command("check", "gru", *options, "--only", "mask", "--only", "batch")
    (asked,) = children["asked"]
    assert asked["arguments"] == {"units": 7, "use_bias": False}
    assert (asked["features"], asked["seed"], asked["only"]) == (5, 3, ["mask", "batch"])


def test_several_backends_are_compared_with_the_first(children, kcells_command):
    backends = ["--backend", "torch", "--backend", "jax", "--backend", "torch"]
    shown = kcells_command("check", "gru", *backends).output
    first, second = children["asked"]
    assert (first["backend"], second["backend"]) == ("torch", "jax")
    assert first["record"].endswith(".npz")
    assert first["recorded"] == []
    assert second["recorded"] == [first["record"]]
    assert second["record"] is None
    assert shown.splitlines()[0].split() == ["law", "torch", "jax"]
    assert shown.splitlines()[2].split() == ["mask", "passed", "passed"]


def test_a_broken_law(children, kcells_command):
    failed = result(
        status="failed",
        case="small",
        reason="state changed",
        difference=0.41,
        allowed=0.0,
        text="At an invalid step every state keeps its value.",
        reproduce='check_cell("gru", only="mask")',
    )
    children["jax"] = [
        failed,
        result("batch", case="small"),
        result("seeds", "skipped", reason="no"),
    ]
    done = kcells_command("check", "gru")
    assert done.exit_code == 1
    assert "mask FAILED, case small, backend jax\n" in done.output
    assert "  state changed: largest difference 0.41 (allowed 0)\n" in done.output
    assert '  Reproduce: check_cell("gru", only="mask")\n' in done.output
    assert "seeds is skipped: no" in done.output
    assert "jax: 1 failed, 1 passed, 1 skipped; cases small" in done.output
    rows = json.loads(kcells_command("check", "gru", "--json").output)
    assert [row["status"] for row in rows] == ["failed", "passed", "skipped"]


def test_a_row_sums_up_the_cases(children, kcells_command):
    children["jax"] = [
        result("mask", case="one"),
        result("mask", case="two"),
        result("mask", "skipped", case="three"),
        result("batch", case="one"),
        result("batch", case="two"),
    ]
    lines = kcells_command("check", "gru").output.splitlines()
    assert lines[2].split() == ["mask", "2", "passed,", "1", "skipped"]
    assert lines[3].split() == ["batch", "passed"]
    assert lines[-1] == "jax: 4 passed, 1 skipped; cases one, two, three"


def test_a_process_dies_within_a_law(children, kcells_command):
    before = [begun("batch"), result("batch"), result("seeds", "skipped", reason="no")]
    children["jax"] = [*before, begun("mask", "small"), KILLED]
    done = kcells_command("check", "gru")
    assert done.exit_code == 1
    assert "mask FAILED, case small, backend jax\n  the process was killed by sig" in done.output
    assert "  Law: A mask is kept.\n  Reproduce: x\n  the last words\n" in done.output
    assert "jax: 1 passed, 1 skipped, 1 failed" in done.output
    rows = json.loads(kcells_command("check", "gru", "--json").output)
    assert [(row["law"], row["status"]) for row in rows] == [
        ("batch", "passed"),
        ("seeds", "skipped"),
        ("mask", "failed"),
    ]
    assert rows[0].keys() == rows[2].keys()


@pytest.mark.parametrize("before", [[], [begun(), result()]])
def test_a_process_dies_outside_of_the_laws(children, kcells_command, before):
    children["jax"] = [*before, KILLED]
    done = kcells_command("check", "gru")
    assert done.exit_code == 1
    assert "process FAILED, backend jax\n  the process was killed by signal 11" in done.output
    assert "  Reproduce: kcells check gru --backend jax\n" in done.output


def test_the_other_backends_are_looked_at_all_the_same(children, kcells_command):
    children["jax"] = [begun(), KILLED]
    backends = ["--backend", "jax", "--backend", "torch", "--backend", "tensorflow"]
    rows = json.loads(kcells_command("check", "gru", *backends, "--json").output)
    assert [row["status"] for row in rows] == ["failed", "passed", "passed"]
    files = [(bool(asked["record"]), len(asked["recorded"])) for asked in children["asked"]]
    assert files == [(True, 0), (True, 0), (False, 1)]


@pytest.mark.parametrize(("wrong", "code"), [(True, 2), (False, 1)])
def test_errors_of_the_kit(children, kcells_command, wrong, code):
    children["jax"] = [{"kind": "error", "text": "there is no law", "wrong": wrong}]
    done = kcells_command("check", "gru")
    assert (done.exit_code, "on jax: there is no law" in done.output) == (code, True)


@pytest.mark.parametrize("question", [["no_such_cell"], ["gru", "--seed", "-1"]])
def test_a_wrong_question_starts_no_process(children, kcells_command, question):
    assert kcells_command("check", *question).exit_code == 2
    assert children["asked"] == []


# -- The child


def reported(**asked):
    facts = []
    check_child.check({**ASKED, **asked}, lambda **fact: facts.append(fact))
    json.dumps(facts, allow_nan=False)
    return facts


def test_what_a_child_reports():
    law, fact = reported(arguments={"units": 5}, features=2)
    assert (law.pop("kind"), fact.pop("kind")) == ("law", "result")
    assert law == {name: fact[name] for name in law}
    assert (fact["law"], fact["status"], fact["bad"]) == ("state_size", "passed", False)
    assert fact["backend"] == BACKEND


def test_a_child_records_and_compares(tmp_path):
    path = str(tmp_path / "first.npz")
    reported(record=path)
    law, fact = reported(only=["backends"], recorded=[path])
    assert law["reproduce"] == fact["reproduce"]
    assert fact["status"] == "passed"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("-inf")])
def test_what_is_not_finite(monkeypatch, number):
    failed = Result("mask", "", "failed", reason="it is off", difference=number, allowed=0)
    monkeypatch.setattr(check_child.testing, "run_checks", lambda *_, **__: [failed])
    _, fact = reported()
    assert (fact["reason"], fact["difference"]) == (f"it is off: {float(number)}", None)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"only": ["no_such_law"]}, laws()[0].name),
        ({"arguments": {"unit": 3}}, '"units"'),
        ({"cell": "nested", "arguments": {"units": 3}}, "NestedCell"),
        ({"arguments": {"units": 3, "activation": "no_such_one"}}, "cannot be made so"),
        ({"arguments": {"use_bias": False}}, "cannot be made so"),
    ],
)
def test_a_wrong_question(asked, text):
    fact = reported(**asked)[-1]
    assert (fact["kind"], fact["wrong"]) == ("error", True)
    assert text in fact["text"]


def test_features_of_a_cell_that_takes_a_structure():
    facts = reported(cell="nested", features=3)
    assert facts[-1]["status"] == "passed"
    assert "inputs=((3,), (6, 3))" in facts[0]["reproduce"]


def test_a_plugin_that_does_not_load(site):
    site.plugin("odd-broken", {"broken": "BrokenCell"}, source="1 / 0")
    (fact,) = reported(cell="broken")
    assert (fact["kind"], fact["wrong"]) == ("error", False)


def test_a_law_is_named_before_a_cell_takes_the_process_with_it(monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(check_child.testing, "run_checks", killed)
    facts = []
    with pytest.raises(KeyboardInterrupt):
        check_child.check({**ASKED}, lambda **fact: facts.append(fact))
    (fact,) = facts
    assert (fact["kind"], fact["law"]) == ("law", "state_size")


@pytest.mark.once
@pytest.mark.slow
def test_real_processes(site, kcells_command):
    site.plugin("odd-zoo", {"foo": "FooCell"})
    backends = ["--backend", BACKEND, "--backend", OTHER]
    only = ["--only", "state_size", "--only", "backends"]
    done = kcells_command("check", "foo", *backends, *only, "--json")
    assert done.exit_code == 0, done.output
    rows = {(row["backend"], row["law"]): row["status"] for row in json.loads(done.output)}
    assert rows[BACKEND, "backends"] == "skipped"
    assert rows[OTHER, "backends"] == "passed"
    assert rows[OTHER, "state_size"] == "passed"
