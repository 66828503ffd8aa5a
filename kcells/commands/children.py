"""Processes of other backends, which report in lines of JSON.

Keras has one backend a process. A child writes a line as soon as it knows something, so
that what it said is there when it dies; what native code and plugins print goes to its
standard error.

The last line says that the work is done. Without it, a plugin that ends the process with exit
code 0 would look like one that is all right.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

__all__ = ["BACKENDS", "ChildError", "default_backend", "reporting", "reports"]

BACKENDS = ("tensorflow", "jax", "torch")

DONE = {"kind": "done"}
"""What a child says last; `reports` keeps it to itself."""

SHOWN_LINES = 25
"""Of what a child wrote before it died."""


class ChildError(Exception):
    """A child did not end well; the text says how, with the last lines that it wrote."""


def reports(module: str, request: Any, backend: str, timeout: float) -> Iterator[dict[str, Any]]:
    """Runs a module in a process of a backend, and yields what it reports.

    Args:
        module: its full name; its `main` calls `reporting`.
        request: what it is asked, as plain data.
        backend: the Keras backend.
        timeout: after how many seconds it is stopped.

    Raises:
        ChildError: after the last report, if the child failed, took too long, or ended before
            its work was done.
    """
    # The child finds what this process would find, and nothing by chance where the user is.
    search_path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": search_path}
    command = [sys.executable, "-P", "-m", module, json.dumps(request)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as written:
        child = subprocess.Popen(  # noqa: S603  # this Python, a module of ours
            command, env=environment, stdout=subprocess.PIPE, stderr=written, text=True
        )
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            child.kill()

        timer = threading.Timer(timeout, stop)
        timer.start()
        is_done = False
        try:
            for line in child.stdout or ():
                fact = json.loads(line)
                is_done = fact == DONE
                if not is_done:
                    yield fact
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.wait()
        if expired.is_set():
            raise ChildError(f"stopped after {timeout:g} s{_last_lines(written)}")
        if code or not is_done:
            raise ChildError(f"{_ending(code)}{_last_lines(written)}")


def _ending(code: int) -> str:
    if code < 0:
        return f"was killed by signal {-code}"
    early = "" if code else ", before its work was done"
    return f"ended with exit code {code}{early}"


def _last_lines(written: IO[str]) -> str:
    written.seek(0)
    lines = collections.deque(written, SHOWN_LINES)
    return "".join(["\n", *lines]).rstrip()


def reporting(work: Callable[[Any, Callable[..., None]], None]) -> None:
    """The part of the child: does the work with what it was asked.

    Args:
        work: gets the request, and a function that reports its keyword arguments.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def report(**facts: Any) -> None:
            out.write(json.dumps(facts) + "\n")
            out.flush()

        work(json.loads(sys.argv[1]), report)
        report(**DONE)


def default_backend() -> str:
    """The backend that Keras would take, read as Keras reads it."""
    if found := os.environ.get("KERAS_BACKEND"):
        return found
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            return str(json.load(file).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"
