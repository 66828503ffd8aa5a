"""examples/custom_cell.py: it learns, and what it saves is what it loads."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

import kcells


@pytest.fixture(scope="module")
def custom_cell(examples: Any) -> Iterator[ModuleType]:
    yield examples.module("custom_cell")
    kcells.unregister("pen")


def test_learns_and_loads(custom_cell: ModuleType) -> None:
    errors = custom_cell.main()
    assert errors["after"] < 0.05 * errors["before"]
    assert errors["changed"] == 0


def test_dicts_go_in_and_are_the_state(custom_cell: ModuleType) -> None:
    layer = kcells.build("pen", 4, return_state=True)
    steps = {"move": np.ones((3, 5, 2), "float32"), "pressure": np.ones((3, 5, 1), "float32")}
    output, state = layer(steps)
    assert tuple(output.shape) == (3, 4)
    assert {key: tuple(leaf.shape) for key, leaf in state.items()} == {
        "ink": (3, 4),
        "grip": (3, 4),
    }


def test_computes_what_its_docstring_says(custom_cell: ModuleType) -> None:
    cell = kcells.cell("pen", 4)
    rng = np.random.default_rng(0)
    inputs = {key: rng.normal(size=(3, n)) for key, n in (("move", 2), ("pressure", 1))}
    states = {key: rng.normal(size=(3, 4)) for key in ("ink", "grip")}
    cell.build({key: x.shape for key, x in inputs.items()})
    w, u, v = cell.get_weights()
    grip = np.tanh(inputs["pressure"] @ w + states["grip"] @ u)
    ink = states["ink"] + 1 / (1 + np.exp(-grip)) * (inputs["move"] @ v)
    given = keras.tree.map_structure(lambda x: keras.ops.cast(x, "float32"), (inputs, states))
    output, new_states = cell(*given)
    for tensor, expected in ((output, ink), (new_states["ink"], ink), (new_states["grip"], grip)):
        # float32 against float64
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(tensor), expected, rtol=1e-5, atol=1e-6
        )
