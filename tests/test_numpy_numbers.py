"""Numbers that come out of NumPy are numbers, and are saved as plain ones."""

import json

import keras
import numpy as np
import pytest
from keras import tree

import kcells
from kcells.cells.numbers import plain_numbers
from kcells.errors import KCellsError
from kcells.testing.cases import cases_for

CELLS = [info.qualified_id for info in kcells.list_cells()]


def of_numpy(value):
    """`value` with numbers of NumPy in the place of Python's."""
    kinds = {bool: np.bool_, int: np.int64, float: np.float64}
    return tree.map_structure(lambda leaf: kinds.get(type(leaf), lambda x: x)(leaf), value)


@pytest.mark.once
@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name):
    cls = kcells.registry.load(name)
    for case in cases_for(cls, None, None):
        if any(isinstance(leaf, keras.layers.Layer) for leaf in tree.flatten(case.arguments)):
            continue
        arguments = {key: of_numpy(value) for key, value in case.arguments.items()}
        for make in (cls, lambda cls=cls, **a: kcells.cell(cls, **a)):
            if make is cls and not issubclass(cls, kcells.Cell):
                continue  # Keras' own.
            cell, plain = make(**arguments), cls(**case.arguments)
            config = {k: v for k, v in cell.get_config().items() if k != "name"}
            assert json.dumps(config) == json.dumps(
                {k: v for k, v in plain.get_config().items() if k != "name"}
            )


@pytest.mark.once
@pytest.mark.parametrize("number", [np.bool_(True), True, np.float32(2.5)])
def test_what_is_no_size_is_refused_as_before(number):
    with pytest.raises(KCellsError, match="units must be a positive int"):
        kcells.build("mlstm", number)


class Dimension:
    """As those of TensorFlow 1: it stands for an int."""

    def __index__(self):
        return 3


@pytest.mark.once
def test_in_the_layer_and_in_structures(tmp_path):
    layer = kcells.build(
        "ln_gru",
        np.array(4),
        dropout=np.float32(0.25),
        return_sequences=np.bool_(True),
        checkpoint=np.int32(2),
        tbptt=np.int64(3),
    )
    model = keras.Sequential([keras.Input((5, 3)), layer])
    model.save(tmp_path / "model.keras")
    again = kcells.load_model(tmp_path / "model.keras").layers[0]
    assert (again.checkpoint, again.tbptt, again.return_sequences) == (2, 3, True)
    assert (again.cell.units, again.cell.dropout) == (4, 0.25)
    assert plain_numbers({"a": (Dimension(), np.int8(2)), "b": [np.ones(2)]})["a"] == (3, 2)


@pytest.mark.parametrize("options", [{"checkpoint": 1}, {"checkpoint": 2, "tbptt": 1}, {}])
@pytest.mark.parametrize("steps", [0, 5])
def test_a_leaf_without_features(options, steps):
    class Sum(kcells.Cell):
        state_size = output_size = 2

        def call(self, inputs, states):
            state = states[0] + keras.ops.sum(inputs, -1, keepdims=True) + 1.0
            return state, [state]

    mask = np.ones((3, steps), bool)
    outputs = kcells.RNN(Sum(), **options)(np.ones((3, steps, 0), "float32"), mask=mask)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), np.full((3, 2), steps))
