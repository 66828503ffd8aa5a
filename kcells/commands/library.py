"""The whole library, for the commands that need it: this is where Keras starts.

TensorFlow writes about the machine when it is imported, whatever it is told, past Python and
straight to standard error. An answer should not begin with that.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from kcells.commands.output import Problem

__all__ = ["choose", "is_whole", "load"]


def is_whole() -> bool:
    """Whether `import kcells` has run, rather than `kcells_command.prepare`."""
    return hasattr(sys.modules["kcells"], "__all__")


def load() -> ModuleType:
    """The package `kcells` as `import kcells` gives it.

    Raises:
        Problem: if Keras does not start.
    """
    package = sys.modules["kcells"]
    if is_whole():
        return package
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _stderr_kept_back():
            package.__spec__.loader.exec_module(package)  # type: ignore[union-attr]
    except Exception as error:
        raise Problem(
            f"Keras does not start: {type(error).__name__}: {error}\n"
            "  `kcells doctor` looks at every backend. Another one is chosen by, for example,"
            " KERAS_BACKEND=jax before the command."
        ) from error
    return package


@contextlib.contextmanager
def _stderr_kept_back() -> Iterator[None]:
    """What is written to standard error inside is shown if it ends in an error, else dropped."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(before, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def choose(backend: str) -> bool:
    """Makes this process one of that backend; False if it is one of another already."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        return True
    keras = sys.modules["keras"]
    return bool(keras.backend.backend() == backend)
