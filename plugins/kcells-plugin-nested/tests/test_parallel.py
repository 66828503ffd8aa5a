"""`ParallelCells` against the layers it stands for: one for each branch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops, tree

import kcells
from kcells.errors import CellError, StructureError
from kcells_plugin_nested import NestedCell, ParallelCells

BATCH, TIME = 3, 5
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)


def make_cells() -> dict[str, Any]:
    """Cells of all kinds: one state, two, a structure; with and without a split step."""
    return {
        "gru": keras.layers.GRUCell(4),
        "group": [keras.layers.LSTMCell(3), (NestedCell(2, 3, 4),)],
        "stack": kcells.StackedCells([keras.layers.LSTMCell(2), keras.layers.SimpleRNNCell(5)]),
    }


def make_inputs(rng: np.random.Generator) -> dict[str, Any]:
    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=(BATCH, TIME, *shape)).astype("float32")

    return {
        "gru": array(2),
        "group": [array(3), ({"v": array(2), "m": array(2, 2)},)],
        "stack": array(6),
    }


def branches(structure: Any) -> list[Any]:
    return [structure["gru"], structure["group"][0], structure["group"][1][0], structure["stack"]]


def assert_close(got: Any, want: Any) -> None:
    got, want = tree.flatten(got), tree.flatten(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(a), ops.convert_to_numpy(b), atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_it_is_a_layer_for_each_branch(rng, masked, unroll, return_sequences):
    cells, inputs = make_cells(), make_inputs(rng)
    options: dict[str, Any] = {
        "return_sequences": return_sequences,
        "return_state": True,
        "unroll": unroll,
    }
    layer = kcells.build("parallel", cells, **options)
    mask = ops.convert_to_tensor(MASK) if masked else None
    outputs, states = layer(inputs, mask=mask)
    assert set(outputs) == {"gru", "group", "stack"}
    assert isinstance(outputs["group"][1], tuple)
    for cell, x, output, state in zip(
        branches(cells), branches(inputs), branches(outputs), branches(states), strict=True
    ):
        alone, *alone_states = kcells.RNN(cell, **options)(x, mask=mask)
        assert_close(output, alone)
        assert_close(state, alone_states)


def test_stateful_and_reset(rng):
    inputs = make_inputs(rng)
    layer = kcells.build("parallel", make_cells(), stateful=True)
    first = layer(inputs)
    second = layer(inputs)
    assert not np.allclose(ops.convert_to_numpy(first["gru"]), ops.convert_to_numpy(second["gru"]))
    layer.reset_state()
    assert_close(layer(inputs), first)


def test_dropout_reaches_every_cell(rng):
    cells = {
        "keras": keras.layers.GRUCell(4, dropout=0.5, seed=1),
        "kcells": NestedCell(2, 3, 4, dropout=0.5, seed=1),
    }
    ones = {
        "keras": np.ones((BATCH, TIME, 6), "float32"),
        "kcells": [np.ones((BATCH, TIME, 6), "float32"), np.ones((BATCH, TIME, 2, 2), "float32")],
    }
    layer = kcells.build("parallel", cells, return_sequences=True)
    trained, plain = layer(ones, training=True), layer(ones)
    assert not np.allclose(
        ops.convert_to_numpy(trained["keras"]), ops.convert_to_numpy(plain["keras"])
    )
    output = ops.convert_to_numpy(trained["kcells"][0])
    np.testing.assert_allclose(output, np.repeat(output[:, :1], TIME, axis=1), rtol=1e-6)
    assert not np.allclose(output, ops.convert_to_numpy(plain["kcells"][0]))


def test_containers_survive():
    cell = ParallelCells(make_cells())
    copied = ParallelCells.from_config(cell.get_config())
    assert isinstance(copied.cells["group"][1], tuple)
    assert copied.get_config() == cell.get_config()


@pytest.mark.parametrize("cells", [{}, [], keras.layers.GRUCell(2), 3])
def test_no_cells(cells):
    with pytest.raises(CellError, match="a dict, list or tuple of cells"):
        ParallelCells(cells)


def test_something_that_is_no_cell():
    with pytest.raises(CellError, match=r'cells\["b"\]\[0\] is 3, which is no cell layer'):
        ParallelCells({"a": keras.layers.GRUCell(2), "b": [3]})


def test_inputs_of_another_structure(rng):
    layer = kcells.build("parallel", {"a": keras.layers.GRUCell(2)})
    with pytest.raises(StructureError, match="must have the structure of the cells"):
        layer({"b": np.ones((BATCH, TIME, 2), "float32")})
    layer = kcells.build("parallel", [keras.layers.GRUCell(2), keras.layers.GRUCell(2)])
    with pytest.raises(StructureError, match="2 in a list"):
        layer([np.ones((BATCH, TIME, 2), "float32")])
