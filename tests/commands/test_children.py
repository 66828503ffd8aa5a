"""Processes that report, and die in all ways."""

import keras
import pytest

from kcells.commands.children import ChildError, default_backend, reports

BACKEND = keras.backend.backend()

# No Keras here: what a child does with its lines is the same without.
CHILD = """
import os, sys, time

from kcells_command import prepare

prepare()
from kcells.commands.children import reporting


def work(request, report):
    print("noise on standard output")
    os.write(1, b"noise of native code\\n")
    report(request=request, backend=os.environ["KERAS_BACKEND"])
    print("the last words", file=sys.stderr)
    if request == "raise":
        raise ValueError("broken")
    if request == "die":
        os.kill(os.getpid(), 9)
    if request == "leave":
        os._exit(0)
    if request == "sleep":
        time.sleep(60)
    report(text="all is said")


if __name__ == "__main__":
    reporting(work)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    (tmp_path / "child_of_a_test.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)

    def run(request, timeout=60.0):
        found = []
        try:
            for fact in reports("child_of_a_test", request, "some_backend", timeout):
                found.append(fact)
        except ChildError as error:
            return found, str(error)
        return found, ""

    return run


def test_reports_and_nothing_else(child):
    asked = {"text": 'ä "quoted"', "numbers": [1, None]}
    found, error = child(asked)
    assert found == [{"request": asked, "backend": "some_backend"}, {"text": "all is said"}]
    assert error == ""


@pytest.mark.parametrize(
    ("request_", "ending"),
    [
        ("raise", "ended with exit code 1\n"),
        ("die", "was killed by signal 9\n"),
        ("leave", "ended with exit code 0, before its work was done\n"),
    ],
)
def test_what_was_said_before_the_end_is_kept(child, request_, ending):
    found, error = child(request_)
    assert found == [{"request": request_, "backend": "some_backend"}]
    assert error.startswith(ending)
    assert "the last words" in error
    assert ("ValueError: broken" in error) == (request_ == "raise")


def test_a_time_limit(child):
    found, error = child("sleep", timeout=1.5)
    assert len(found) <= 1
    assert error.startswith("stopped after 1.5 s")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"backend": "torch"}', "torch"),
        ("{}", "tensorflow"),
        ("[]", "tensorflow"),
        ("junk", "tensorflow"),
        (None, "tensorflow"),
    ],
)
def test_the_backend_of_a_settings_file(monkeypatch, tmp_path, content, expected):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert default_backend() == expected


def test_the_backend_of_this_process(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", BACKEND)
    assert default_backend() == BACKEND
