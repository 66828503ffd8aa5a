"""The example scripts as modules."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import keras
import pytest

FOLDER = Path(__file__).parents[2] / "examples"


class Examples:
    """The folder of the examples, and what is in it."""

    folder = FOLDER

    def run(self, name: str, *options: str) -> str:
        """What the script `name`.py prints, in a process whose KERAS_BACKEND does not count."""
        other = "jax" if keras.backend.backend() == "torch" else "torch"
        done = subprocess.run(
            [sys.executable, str(FOLDER / f"{name}.py"), *options],
            # The option --backend goes before the variable.
            env={**os.environ, "KERAS_BACKEND": other},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @functools.cache  # noqa: B019  # there is one for the whole run
    def module(self, name: str) -> ModuleType:
        """The script `name`.py, imported as a module."""
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module


@pytest.fixture(scope="session")
def examples() -> Examples:
    return Examples()
