"""The example scripts as modules."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


class Examples:
    """The folder of the examples, and what is in it."""

    folder = FOLDER

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
