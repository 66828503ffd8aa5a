"""Keras' own tests of its recurrent layers, run with kcells' layers in their place.

Keras' wheel brings its tests along. Whoever wrote them knew nothing of kcells, so they
say what Keras users rely on: shapes, values, serialization, training, mixed precision.
A test that kcells cannot pass is listed in `CANNOT_PASS` with its reason; on the day it
passes, its entry has to go.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import unittest
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import keras
import pytest

import kcells

MODULES = (
    "keras.src.layers.rnn.rnn_test",
    "keras.src.layers.rnn.stacked_rnn_cells_test",
    "keras.src.layers.rnn.bidirectional_test",
)
OURS: dict[str, Any] = {
    "RNN": kcells.RNN,
    "StackedRNNCells": kcells.StackedCells,
    "Bidirectional": kcells.Bidirectional,
}
CANNOT_PASS: dict[str, str] = {}
"""From `module.method` to the reason why kcells does not do what the test asks for."""


def _shipped() -> list[ModuleType]:
    """Keras' test modules; an empty list where a wheel comes without them."""
    if any(importlib.util.find_spec(name) is None for name in MODULES):
        return []
    return [importlib.import_module(name) for name in MODULES]


def _shipped_tests() -> dict[str, unittest.TestCase]:
    """Every test method by the name `module.method`."""
    found: dict[str, unittest.TestCase] = {}
    for module in _shipped():
        short = module.__name__.rpartition(".")[2]
        for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
            for test in suite:  # type: ignore[union-attr]
                found[f"{short}.{test.id().rpartition('.')[2]}"] = test
    return found


TESTS = _shipped_tests()
SLOW = {name for name in TESTS if name.endswith("test_basics")}
"""These train and save a layer for each of its configurations."""

pytestmark = pytest.mark.skipif(
    not TESTS, reason="this Keras comes without its tests of the recurrent layers"
)


@contextlib.contextmanager
def in_place_of_keras(classes: dict[str, Any]) -> Iterator[None]:
    """Puts `classes` where Keras' tests look for Keras' own."""
    namespace = importlib.import_module("keras.src.layers")
    kept = {name: getattr(namespace, name) for name in classes}
    filtering = keras.config.is_traceback_filtering_enabled()
    try:
        for name, cls in classes.items():
            setattr(namespace, name, cls)
        yield
    finally:
        for name, cls in kept.items():
            setattr(namespace, name, cls)
        # Keras' base class for tests switches it off.
        if filtering:
            keras.config.enable_traceback_filtering()


def problems(test: unittest.TestCase, classes: dict[str, Any]) -> list[str]:
    """Runs one of Keras' tests; gives the traceback of everything that went wrong."""
    result = unittest.TestResult()
    with in_place_of_keras(classes):
        test.run(result)
    assert result.testsRun == 1
    if result.skipped:
        pytest.skip(f"Keras skips it: {result.skipped[0][1]}")
    return [text for _, text in (*result.errors, *result.failures)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TESTS],
)
def test_with_our_layers(name: str) -> None:
    found = problems(TESTS[name], OURS)
    if name in CANNOT_PASS:
        assert found, f"{name} passes now: take it off the list ({CANNOT_PASS[name]})"
    else:
        assert not found, "\n".join(found)


def test_the_list_names_tests_that_there_are() -> None:
    assert set(CANNOT_PASS) <= set(TESTS)


class BrokenRNN(kcells.RNN):
    """Off by one."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return keras.tree.map_structure(lambda leaf: leaf + 1, super().call(*args, **kwargs))


class BrokenBidirectional(kcells.Bidirectional):
    """Always concatenates."""

    def __init__(self, layer: Any, merge_mode: Any = "concat", **kwargs: Any) -> None:
        super().__init__(layer, "concat", **kwargs)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("rnn_test.test_forward_pass_two_states", {"RNN": BrokenRNN}),
        ("stacked_rnn_cells_test.test_correctness_two_states_stack", {"RNN": BrokenRNN}),
        ("bidirectional_test.test_correctness", {"Bidirectional": BrokenBidirectional}),
    ],
)
def test_it_is_our_layers_that_are_tested(name: str, broken: dict[str, Any]) -> None:
    assert problems(TESTS[name], broken), "a broken layer in place of Keras' passes its test"
