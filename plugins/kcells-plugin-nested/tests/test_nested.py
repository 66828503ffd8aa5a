"""`NestedCell` against NumPy, and each of its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops
from nested_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_nested import NestedCell

BATCH, TIME, I1, I2, I3 = 3, 4, 2, 3, 5
UNITS = (4, 2, 3)
MASK = np.array([[1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)


def sequences(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(size=(BATCH, TIME, *size)) for size in ((I1,), (I2, I3))]


def numpy(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("masked", [False, True])
def test_outputs_states_and_gradients(rng, float64, compare, masked):
    options = {"return_sequences": True, "return_state": True}
    layer = kcells.build("nested", *UNITS, kernel_initializer="random_normal", **options)
    inputs = sequences(rng)
    layer.build([x.shape for x in inputs])
    mask = MASK if masked else None

    def reference(weights, *leaves):
        return run(*leaves, **weights, mask=mask)

    compare(layer, inputs, reference, mask)


@pytest.mark.parametrize("swapped", [False, True])
def test_outputs_come_in_the_container_of_the_inputs(rng, swapped):
    vector, matrix = sequences(rng)
    layer = kcells.build("nested", *UNITS)
    pair = (matrix, vector) if swapped else (vector, matrix)
    shapes = [(BATCH, 2, 3), (BATCH, 4)] if swapped else [(BATCH, 4), (BATCH, 2, 3)]
    as_list = layer(list(pair))
    as_tuple = kcells.RNN(layer.cell)(pair)
    as_dict = kcells.RNN(layer.cell)({"b": pair[0], "a": pair[1]})
    assert isinstance(as_list, list)
    assert isinstance(as_tuple, tuple)
    assert set(as_dict) == {"a", "b"}
    for result in (as_list, as_tuple, [as_dict["b"], as_dict["a"]]):
        assert [tuple(leaf.shape) for leaf in result] == shapes
        np.testing.assert_array_equal(numpy(result[0]), numpy(as_list[0]))


def test_dropout_drops_the_same_inputs_at_every_step(rng):
    layer = kcells.build("nested", *UNITS, dropout=0.5, seed=3, return_sequences=True)
    ones = [np.ones((BATCH, TIME, I1)), np.ones((BATCH, TIME, I2, I3))]
    out_1, out_2 = layer(ones, training=True)
    for output in (numpy(out_1), numpy(out_2)):
        np.testing.assert_allclose(output, np.repeat(output[:, :1], TIME, axis=1), rtol=1e-6)


def test_recurrent_dropout_zeroes_states(rng):
    layer = kcells.build("nested", *UNITS, recurrent_dropout=0.5, seed=3, return_state=True)
    nothing = [np.zeros((BATCH, 1, I1)), np.zeros((BATCH, 1, I2, I3))]
    ones = [np.ones((BATCH, 4), "float32"), np.ones((BATCH, 2, 3), "float32")]
    _, state_1, state_2 = layer(nothing, initial_state=ones, training=True)
    values = set(np.concatenate([numpy(state_1).ravel(), numpy(state_2).ravel()]))
    assert values == {0.0, 2.0}


@pytest.mark.parametrize("units", [(0, 1, 1), (1, -1, 1), (1, 1, 2.5), (True, 1, 1)])
def test_units_that_are_no_sizes(units):
    with pytest.raises(ConfigurationError, match=r"unit_\d must be a positive int"):
        NestedCell(*units)


@pytest.mark.parametrize(
    "shapes",
    [[(2, 3, 4)], [(2, 3, 4), (2, 3, 4)], [(2, 3, 4, 5), (2, 3, 4, 5)], [(2, 3, 4)] * 3],
)
def test_inputs_that_are_not_a_vector_and_a_matrix(shapes):
    layer = kcells.build("nested", *UNITS)
    with pytest.raises(StructureError, match=r"a vector .* and a matrix"):
        layer([np.ones(shape, "float32") for shape in shapes])
