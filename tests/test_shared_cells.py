"""One cell in several layers: saved, and one cell again once it is loaded."""

from __future__ import annotations

import copy
import gc
import json
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kcells
from kcells.cells.sharing import marked

QUICK = {"recurrent_initializer": "glorot_uniform"}
INPUTS = np.random.default_rng(5).normal(size=(2, 4, 3)).astype("float32")


def gru(units: int = 3) -> Any:
    return keras.layers.GRUCell(units, **QUICK)


def model_of(*layers: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, [layer(inputs) for layer in layers])


def two_layers() -> keras.Model:
    cell = gru()
    return model_of(kcells.RNN(cell), kcells.RNN(cell, go_backwards=True))


def two_built() -> keras.Model:
    """What `build` makes of a cell of Keras has no cell in its configuration."""
    cell = gru()
    return model_of(kcells.build(cell), kcells.build(cell, go_backwards=True), kcells.RNN(cell))


def the_cell_of_a_layer() -> keras.Model:
    layer = kcells.build("gru", 3, **QUICK)
    return model_of(layer, kcells.RNN(layer.cell, go_backwards=True))


def two_stacks() -> keras.Model:
    cell = gru()
    lower, upper = [cell, gru(2)], [gru(), cell, cell]
    return model_of(kcells.RNN(cell), kcells.RNN(lower), kcells.RNN(upper))


def one_stack() -> keras.Model:
    stack = kcells.StackedCells([gru(), gru(2)])
    return model_of(kcells.RNN(stack), kcells.RNN(stack, go_backwards=True))


def a_model_inside() -> keras.Model:
    cell = gru()
    inner = keras.Sequential([keras.Input((4, 3)), kcells.RNN(cell, name="inner")])
    return model_of(kcells.RNN(cell, go_backwards=True), inner)


def one_way_of_two() -> keras.Model:
    cell = gru()
    backward = kcells.RNN(cell, go_backwards=True)
    both = kcells.Bidirectional(kcells.RNN(gru()), backward_layer=backward)
    return model_of(kcells.RNN(cell), both)


def branches() -> keras.Model:
    cell = gru()
    one, other = kcells.cell("parallel", [cell, gru()]), kcells.cell("parallel", [gru(), cell])
    both = [keras.Input((4, 3)), keras.Input((4, 3))]
    return keras.Model(both, [*kcells.RNN(one)(both), *kcells.RNN(other)(both)])


def of_a_plugin() -> keras.Model:
    cell = kcells.cell("mgru", 3, **QUICK)
    return model_of(kcells.RNN(cell), kcells.RNN(cell, go_backwards=True))


MODELS = {
    two_layers: 3,
    two_built: 3,
    the_cell_of_a_layer: 3,
    two_stacks: 9,
    one_stack: 6,
    a_model_inside: 3,
    one_way_of_two: 6,
    branches: 9,
    of_a_plugin: 4,
}


def outputs(model: keras.Model) -> list[np.ndarray]:
    inputs = [INPUTS] * len(model.inputs)
    found = model(inputs if len(inputs) > 1 else INPUTS)
    return [keras.ops.convert_to_numpy(leaf) for leaf in keras.tree.flatten(found)]


def assert_same(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def config_of(path: Any) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json").decode()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_it_is_one_cell_again(tmp_path, make):
    model = make()
    assert len(model.weights) == MODELS[make]
    model.save(tmp_path / "model.keras")
    again = kcells.load_model(tmp_path / "model.keras")
    assert len(again.weights) == MODELS[make]
    assert_same(outputs(again), outputs(model))
    # A second trip, from what was loaded.
    again.save(tmp_path / "again.keras")
    third = keras.models.load_model(tmp_path / "again.keras")
    assert len(third.weights) == MODELS[make]
    assert_same(outputs(third), outputs(model))


def test_a_copy_shares_too():
    """Keras copies a model by way of a file."""
    model = two_layers()
    again = copy.deepcopy(model)
    assert again.layers[1].cell is again.layers[2].cell
    assert_same(outputs(again), outputs(model))


def test_training_goes_on_with_one_cell(tmp_path):
    model = two_layers()
    model.compile("sgd", "mse")
    targets = [np.zeros((2, 3), "float32")] * 2
    model.train_on_batch(INPUTS, targets)
    model.save(tmp_path / "model.keras")
    again = kcells.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.train_on_batch(INPUTS, targets)
    assert_same(again.get_weights(), model.get_weights())


@keras.saving.register_keras_serializable(package="kcells-tests")
class BothKinds(keras.layers.Layer):
    """Makes its layers itself, of one cell, which `Bidirectional` is to copy twice."""

    def __init__(self, wrapper: str = "kcells", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wrapper = wrapper
        library = kcells if wrapper == "kcells" else keras.layers
        cell = gru()
        self.one = kcells.RNN(cell)
        self.both = library.Bidirectional(kcells.RNN(cell))
        self.again = [kcells.RNN.from_config(self.one.get_config()) for _ in range(2)]

    def build(self, input_shape: Any) -> None:
        for layer in (self.one, self.both, *self.again):
            layer.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return [layer(inputs) for layer in (self.one, self.both, *self.again)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "wrapper": self.wrapper}


@pytest.mark.parametrize("wrapper", ["kcells", "keras"])
def test_copies_that_are_made_while_a_model_is_loaded_share_nothing(tmp_path, wrapper):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, BothKinds(wrapper)(inputs))
    assert len(model.weights) == 15
    model.save(tmp_path / "model.keras")
    again = kcells.load_model(tmp_path / "model.keras")
    assert len(again.weights) == 15
    assert_same(outputs(again), outputs(model))


def test_marks_are_for_files_alone(tmp_path):
    cell = gru()
    layers = [kcells.RNN(cell, name="one"), kcells.build(cell, name="two")]
    for layer in layers:
        assert "kcells cell" not in json.dumps(layer.get_config())
        assert marked(cell, {}) == {}
    model = model_of(*layers)
    model.save(tmp_path / "shared.keras")
    assert config_of(tmp_path / "shared.keras").count('"kcells cell 1"') == 2
    model_of(kcells.RNN(gru()), kcells.RNN([gru(), gru()])).save(tmp_path / "own.keras")
    assert "kcells cell" not in config_of(tmp_path / "own.keras")


def test_an_owner_that_is_gone_counts_no_more(tmp_path):
    cell = gru()
    for _ in range(2):
        kcells.RNN(cell)
    gc.collect()
    model_of(kcells.RNN(cell)).save(tmp_path / "model.keras")
    assert "kcells cell" not in config_of(tmp_path / "model.keras")


def test_names_are_the_same_in_every_file(tmp_path):
    for name in ("a.keras", "b.keras"):
        two_stacks().save(tmp_path / name)
        assert config_of(tmp_path / name).count('"kcells cell 1"') == 4
        assert '"kcells cell 2"' not in config_of(tmp_path / name)


class BareCell:
    """A cell that is no layer, and that has no hash."""

    state_size = 3

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def call(self, inputs: Any, states: Any) -> Any:
        return inputs + states[0], [inputs + states[0]]


def test_cells_that_are_no_layers_may_have_several_owners():
    cell = BareCell()
    one, other = kcells.RNN(cell), kcells.RNN(cell)
    assert one._bound.cell is other._bound.cell is cell
