"""Every example in a docstring, of kcells and of the installed plugins, on this backend."""

from __future__ import annotations

import doctest
import importlib
import io
import pkgutil
from collections.abc import Iterator

import keras
import pytest

import kcells

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BACKENDS = {"tensorflow", "jax", "torch"}


def modules_of(package: str) -> Iterator[str]:
    """The names of a package and of all modules in it, but for those of other backends."""
    others = BACKENDS - {keras.backend.backend()}
    yield package
    path = getattr(importlib.import_module(package), "__path__", [])
    for module in pkgutil.walk_packages(path, f"{package}."):
        folder, _, last = module.name.rpartition(".")
        # Two backends in one process are a crash that waits to happen.
        if not (folder.endswith(".backends") and last.partition("_")[0] in others):
            yield module.name


PLUGINS = sorted(
    {
        info.target.partition(":")[0].partition(".")[0]
        for info in kcells.list_cells()
        if info.distribution.startswith("kcells-plugin-")
    }
)
MODULES = [name for package in ("kcells", *PLUGINS) for name in modules_of(package)]


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a module, one entry a docstring."""
    return doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in examples(name):
        runner.run(test, out=report.write)
    assert not runner.failures, report.getvalue()


def test_modules_of_other_backends_are_left_alone():
    own = keras.backend.backend()
    folders = ("engine", "bench", "testing")
    assert {f"kcells.{folder}.backends.{own}" for folder in folders} <= set(MODULES)
    other = min(BACKENDS - {own})
    assert not [name for name in MODULES if f".backends.{other}" in name]


def test_there_are_examples():
    assert {"kcells.build", "kcells.layers.rnn", "kcells.registry"} <= set(MODULES)
    for package in ("kcells", *PLUGINS):
        found = [test for name in modules_of(package) for test in examples(name)]
        assert any(test.examples for test in found), package
