"""The whole library, for the commands that need it: this is where Keras starts."""

from __future__ import annotations

import os
import sys
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
    # TensorFlow writes a page about the machine before every answer otherwise.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        package.__spec__.loader.exec_module(package)  # type: ignore[union-attr]
    except Exception as error:
        raise Problem(
            f"Keras does not start: {type(error).__name__}: {error}\n"
            "  `kcells doctor` looks at every backend. Another one is chosen by, for example,"
            " KERAS_BACKEND=jax before the command."
        ) from error
    return package


def choose(backend: str) -> bool:
    """Makes this process one of that backend; False if it is one of another already."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        return True
    keras = sys.modules["keras"]
    return bool(keras.backend.backend() == backend)
