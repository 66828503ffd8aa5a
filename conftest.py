"""Shared by the tests of kcells and of the plugins in this repository.

Keras fixes its backend at import, so a process tests one backend.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before anything imports JAX: without it JAX has no float64.
os.environ.setdefault("JAX_ENABLE_X64", "1")

import keras
import numpy as np
import pytest
from keras import tree

from kcells import list_cells
from kcells.testing.parametrize import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    """Lets the whole kit run on any backend, which takes an hour on some."""
    parser.addoption("--all-laws", action="store_true", help="every law and case for every cell")


def _make_tests_mean_the_folder_here() -> None:
    """tf2onnx installs its own as a package `tests`; conftest files in ours import from it."""
    tests = importlib.util.module_from_spec(
        importlib.machinery.ModuleSpec("tests", None, is_package=True)
    )
    tests.__path__ = [str(Path(__file__).parent / "tests")]
    sys.modules["tests"] = tests


# Not in a hook: where a path is named, pytest reads the conftest files below it before any.
_make_tests_mean_the_folder_here()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what need not run once more on another backend."""
    for item in items:
        if keras.backend.backend() != "tensorflow" and item.get_closest_marker("once"):
            item.add_marker(pytest.mark.skip(reason="runs on TensorFlow alone"))
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    if config.getoption("--all-laws"):
        return
    seen: set[tuple[str, str]] = set()
    drawn = _drawn(items)
    new, left_out = [], []
    for item in items:
        runs = _is_named(item, config) or (_says_something_new(item, seen) and item in drawn)
        (new if runs else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = new


def _is_named(item: pytest.Item, config: pytest.Config) -> bool:
    """Whether the command line names this test, and not only its file."""
    named = [argument.replace(os.sep, "/") for argument in config.args if "::" in argument]
    return any(
        item.nodeid == name or item.nodeid.startswith((f"{name}[", f"{name}::")) for name in named
    )


def _group(item: pytest.Item) -> str:
    """What one worker runs: a file; of the laws those for one case of a cell, which share much."""
    file = item.nodeid.partition("::")[0]
    check = _check_of(item)
    return (
        file if check is None else f"{file}-{check.subject.target.name}-{check.subject.case.name}"
    )


def _check_of(item: pytest.Item) -> Check | None:
    check = getattr(item, "callspec", None) and item.callspec.params.get("check")
    return check if isinstance(check, Check) else None


def _says_something_new(item: pytest.Item, seen: set[tuple[str, str]]) -> bool:
    """Whether a law for a cell is worth its time on this backend; `seen` is for the next.

    There are many cells, and where each call is compiled a law takes seconds. So PyTorch looks
    at all laws but one, TensorFlow at the files, and both compiling backends at what the
    comparison with NumPy leaves open: half precision in one case a cell, and what a cell is
    equivalent to. The cells that the kit itself is tested with keep the other laws everywhere.
    A file is read in a process of its own: one of each distribution, and all others in one
    process, by `test_every_cell_saves.py`.
    """
    check = _check_of(item)
    if check is None:
        return True

    def is_first(of: str) -> bool:
        known = (check.law.name, of) in seen
        seen.add((check.law.name, of))
        return not known

    backend, law, target = keras.backend.backend(), check.law.name, check.subject.target
    if law == "paths":
        return backend == "torch"
    if law == "saving":
        return backend == "tensorflow" and is_first(target.distribution or target.name)
    if backend == "torch" or item.get_closest_marker("every_law"):
        return True
    return law == "equivalent" or (law == "mixed_precision" and is_first(target.name))


def _drawn(items: list[pytest.Item]) -> set[pytest.Item]:
    """The tests without `one_in(n)`, and of the cases of one that has it as many as it says.

    Which these are goes by a number that each makes of its own name, so a new test changes
    nothing for others; and no test is left without a case.
    """
    drawn, cases = set(), defaultdict(list)
    for item in items:
        if keras.backend.backend() == "torch" or item.get_closest_marker("one_in") is None:
            drawn.add(item)
        else:
            cases[item.nodeid.partition("[")[0]].append(item)
    for of_test in cases.values():
        (n,) = of_test[0].get_closest_marker("one_in").args
        of_test.sort(
            key=lambda item: zlib.crc32(item.nodeid.encode()),
            reverse=keras.backend.backend() == "jax",
        )
        drawn.update(of_test[: -(-len(of_test) // n)])
    return drawn


_seconds: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up what the tests of each distribution take."""
    parts = report.nodeid.split("/")
    if parts[0] == "plugins":
        _seconds[parts[1]] += report.duration


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says how long the tests of a cell take, so that growth is seen."""
    if not _seconds:
        return
    cells = Counter(info.distribution for info in list_cells())
    terminalreporter.section(f"seconds a cell on {keras.backend.backend()}")
    for name, seconds in sorted(_seconds.items()):
        count = cells[name]
        terminalreporter.line(f"{seconds / count:6.1f}   {name}, {count} cells: {seconds:.0f} s")
    whole, count = sum(_seconds.values()), sum(cells[name] for name in _seconds)
    terminalreporter.line(f"{whole / count:6.1f}   all {count} cells: {whole:.0f} s")


@pytest.fixture
def backend() -> str:
    """The backend that this process tests."""
    return keras.backend.backend()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20161205)


@pytest.fixture(autouse=True)
def _fresh_keras() -> Iterator[None]:
    """Every test starts with the same random seed, default dtype and layer names."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")


@pytest.fixture(autouse=True)
def _small_linear_cells_at_once() -> Iterator[None]:
    """Linear cells compute all steps at once on JAX too, where small ones would not."""
    from kcells.engine import conditions

    ours = dataclasses.replace(conditions.THRESHOLDS, jax_linear_at_once=0)
    # One of its own: `monkeypatch` would be there before all other fixtures, and be undone last.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditions, "THRESHOLDS", ours)
        yield


_ended = itertools.count(1)


@pytest.fixture(autouse=True)
def _few_programs() -> Iterator[None]:
    """JAX forgets now and then what it compiled.

    A program takes three areas of memory, of which Linux gives a process 65530: without this,
    a thousand laws in one process end in a crash of the compiler.
    """
    yield
    if keras.backend.backend() == "jax" and next(_ended) % 200 == 0:
        import jax

        jax.clear_caches()


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in double precision, so that a comparison can be exact to 1e-10.

    On JAX and PyTorch, Keras' promotion rules turn the result of many ops on float64 into
    float32 (matmul on PyTorch, tanh on JAX), whatever the dtype policy says. Here that
    rule is lifted; it is a private table, and the tests alone touch it.
    """
    from keras.src.backend.common import dtypes

    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")


@pytest.fixture
def gradients() -> Callable[..., tuple[list[np.ndarray], list[np.ndarray]]]:
    """A function for gradients on the backend of the process; see `_gradients`."""
    return _gradients


def _gradients(
    loss: Callable[[list[Any]], Any], variables: list[Any], arrays: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """d loss(arrays) / d variables and / d arrays, as NumPy arrays."""
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    both = _BY_BACKEND[keras.backend.backend()](loss, variables, tensors)
    numbers = [keras.ops.convert_to_numpy(gradient) for gradient in both]
    return numbers[: len(variables)], numbers[len(variables) :]


def _tensorflow_gradients(loss: Any, variables: list[Any], tensors: list[Any]) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = loss(tensors)
    return tape.gradient(value, [v.value for v in variables] + tensors)


def _jax_gradients(loss: Any, variables: list[Any], tensors: list[Any]) -> list[Any]:
    import jax

    def function(values: list[Any], tensors: list[Any]) -> Any:
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return loss(tensors)

    values = [v.value for v in variables]
    first, second = jax.jit(jax.grad(function, argnums=(0, 1)))(values, tensors)
    return [*first, *second]


def _torch_gradients(loss: Any, variables: list[Any], tensors: list[Any]) -> list[Any]:
    import torch

    tensors = [tensor.detach().requires_grad_(True) for tensor in tensors]
    return list(torch.autograd.grad(loss(tensors), [v.value for v in variables] + tensors))


_BY_BACKEND = {
    "tensorflow": _tensorflow_gradients,
    "jax": _jax_gradients,
    "torch": _torch_gradients,
}


@pytest.fixture
def derivative() -> Callable[[Callable[[], float], np.ndarray, np.ndarray], float]:
    """A function for central differences; see `_derivative`."""
    return _derivative


@pytest.fixture
def compare(rng: np.random.Generator) -> Callable[..., None]:
    """A function that holds a layer against a program in NumPy; see `_compare`."""
    return functools.partial(_compare, rng)


_STEP = 1e-6
# What a central difference over two such steps is off by, relative to the sum of what the loss
# adds up.
_ERROR_OF_DIFFERENCES = 2e-10
_DIRECTIONS = 3


def _compare(
    rng: np.random.Generator,
    layer: Any,
    inputs: Any,
    reference: Callable[..., Any],
    mask: np.ndarray | None = None,
    tolerance: float = 1e-10,
) -> None:
    """Results and all gradients of a layer are those of a program that shares no code with it.

    A gradient is compared along directions, each of which moves all entries by a step, up or
    down by chance. One wrong entry shows in every direction, with all of its error; where the
    errors of several cancel in one, they do not in the next.

    Args:
        rng: for the initial states, and for the sum whose gradients are taken.
        layer: built; returns sequences and states.
        inputs: a structure of sequences.
        reference: maps the weights, by name, and the leaves of inputs and initial states, all
            in float64, to those of outputs and states.
        mask: for the layer; the reference knows it already.
        tolerance: relative to the largest entry, since small ones are differences of large ones.
    """
    from kcells.testing import Differentiated

    flat = tree.flatten(inputs)
    batch = len(flat[0])
    states = [rng.normal(size=size.batched(batch)) for size in tree.flatten(layer._bound.sizes)]
    leaves = [leaf.astype(layer.variable_dtype) for leaf in (*flat, *states)]

    def call(leaves: list[Any]) -> list[Any]:
        x = tree.pack_sequence_as(inputs, leaves[: len(flat)])
        start = tree.pack_sequence_as(layer._bound.sizes, leaves[len(flat) :])
        return tree.flatten(layer(x, initial_state=start, mask=mask))

    weights = {w.name: np.array(keras.ops.convert_to_numpy(w), "float64") for w in layer.weights}
    given = [leaf.astype("float64") for leaf in leaves]
    expected = reference(weights, *given)
    factors = [rng.normal(size=result.shape) for result in expected]
    results, gradients = Differentiated(layer, call)(leaves, factors)
    for position, pair in enumerate(zip(results, expected, strict=True)):
        _assert_close(*pair, tolerance, f"result {position}")

    def loss() -> float:
        return float(
            sum(np.vdot(r, f) for r, f in zip(reference(weights, *given), factors, strict=True))
        )

    addends = sum(np.abs(r * f).sum() for r, f in zip(expected, factors, strict=True))
    sources = [*weights.items(), *((f"leaf {k}", leaf) for k, leaf in enumerate(given))]
    directions = np.random.default_rng(0)  # a test may bring an `rng` of its own kind
    for gradient, (name, array) in zip(gradients, sources, strict=True):
        assert gradient.shape == array.shape, name
        for _ in range(_DIRECTIONS):
            direction = directions.choice([-1.0, 1.0], size=array.shape)
            error = abs(np.vdot(gradient, direction) - _derivative(loss, array, direction))
            allowed = addends * _ERROR_OF_DIFFERENCES + tolerance * np.abs(gradient).max()
            assert error <= allowed, f"gradient: {name} is off by {error:.3g}"


def _derivative(function: Callable[[], float], array: np.ndarray, direction: np.ndarray) -> float:
    """The derivative of `function` as `array`, which it reads, moves in a direction."""
    kept = array.copy()
    array += _STEP * direction
    above = function()
    array[...] = kept - _STEP * direction
    below = function()
    array[...] = kept
    return (above - below) / (2 * _STEP)


def _assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    assert actual.shape == expected.shape, what
    error, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= tolerance * scale, f"{what} is off by {error:.3g} of {scale:.3g}"
