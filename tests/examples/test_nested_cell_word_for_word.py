"""The cell of the guide "Working with RNNs", as it stands there, in `kcells.RNN`.

`NestedCell` and the model around it are from the Keras guide by Scott Zhu and François
Chollet (Apache License 2.0). Three things differ from the guide's text, and only these:

- `kcells.RNN` stands for `keras.layers.RNN`, which refuses the cell in Keras 3;
- `metrics` has one entry an output, since `compile` of Keras 3 insists on that;
- there are fewer batches and fewer steps.

The cell is written in `tf` operations, so it runs on TensorFlow alone. Keras 2 ran it in
its own `RNN`: that one is the reference here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kcells

if keras.backend.backend() != "tensorflow":
    pytest.skip("the guide's cell is written in tf operations", allow_module_level=True)

import tensorflow as tf

unit_1 = 10
unit_2 = 20
unit_3 = 30

i1 = 32
i2 = 64
i3 = 32
batch_size = 64
num_batches = 2
timestep = 10


def define_cell(keras: Any) -> Any:
    """The guide's class, for the Keras that is passed in."""

    @keras.saving.register_keras_serializable()
    class NestedCell(keras.layers.Layer):
        def __init__(self, unit_1, unit_2, unit_3, **kwargs):
            self.unit_1 = unit_1
            self.unit_2 = unit_2
            self.unit_3 = unit_3
            self.state_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
            self.output_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
            super().__init__(**kwargs)

        def build(self, input_shapes):
            # expect input_shape to contain 2 items, [(batch, i1), (batch, i2, i3)]
            i1 = input_shapes[0][1]
            i2 = input_shapes[1][1]
            i3 = input_shapes[1][2]

            self.kernel_1 = self.add_weight(
                shape=(i1, self.unit_1), initializer="uniform", name="kernel_1"
            )
            self.kernel_2_3 = self.add_weight(
                shape=(i2, i3, self.unit_2, self.unit_3),
                initializer="uniform",
                name="kernel_2_3",
            )

        def call(self, inputs, states):
            # inputs should be in [(batch, input_1), (batch, input_2, input_3)]
            # state should be in shape [(batch, unit_1), (batch, unit_2, unit_3)]
            input_1, input_2 = tf.nest.flatten(inputs)
            s1, s2 = states

            output_1 = tf.matmul(input_1, self.kernel_1)
            output_2_3 = tf.einsum("bij,ijkl->bkl", input_2, self.kernel_2_3)
            state_1 = s1 + output_1
            state_2_3 = s2 + output_2_3

            output = (output_1, output_2_3)
            new_states = (state_1, state_2_3)

            return output, new_states

        def get_config(self):
            return {"unit_1": self.unit_1, "unit_2": self.unit_2, "unit_3": self.unit_3}

    return NestedCell


@pytest.fixture(scope="module")
def cell_class() -> Any:
    return define_cell(keras)


@pytest.fixture
def model(cell_class: Any) -> keras.Model:
    cell = cell_class(unit_1, unit_2, unit_3)
    rnn = kcells.RNN(cell)

    input_1 = keras.Input((None, i1))
    input_2 = keras.Input((None, i2, i3))

    outputs = rnn((input_1, input_2))

    model = keras.models.Model([input_1, input_2], outputs)

    model.compile(optimizer="adam", loss="mse", metrics=["accuracy", "accuracy"])
    return model


@pytest.fixture(scope="module")
def input_data() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    input_1_data = rng.random((batch_size * num_batches, timestep, i1))
    input_2_data = rng.random((batch_size * num_batches, timestep, i2, i3))
    return [input_1_data, input_2_data]


@pytest.fixture(scope="module")
def target_data() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    target_1_data = rng.random((batch_size * num_batches, unit_1))
    target_2_data = rng.random((batch_size * num_batches, unit_2, unit_3))
    return [target_1_data, target_2_data]


def test_builds(model: keras.Model) -> None:
    assert [output.shape for output in model.outputs] == [(None, 10), (None, 20, 30)]
    assert model.count_params() == i1 * unit_1 + i2 * i3 * unit_2 * unit_3 == 1_229_120


def test_trains(
    model: keras.Model, input_data: list[np.ndarray], target_data: list[np.ndarray]
) -> None:
    first = model.evaluate(input_data, target_data, batch_size=batch_size, return_dict=True)
    history = model.fit(input_data, target_data, batch_size=batch_size, epochs=3, verbose=0)
    last = model.evaluate(input_data, target_data, batch_size=batch_size, return_dict=True)
    assert len(history.history["loss"]) == 3
    assert last["loss"] < 0.9 * first["loss"]


def test_saves_and_loads(
    model: keras.Model,
    input_data: list[np.ndarray],
    target_data: list[np.ndarray],
    tmp_path: Path,
) -> None:
    model.fit(input_data, target_data, batch_size=batch_size, verbose=0)
    path = tmp_path / "nested.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert isinstance(loaded.layers[-1], kcells.RNN)
    expected = model.predict(input_data, verbose=0)
    for output, wanted in zip(loaded.predict(input_data, verbose=0), expected, strict=True):
        np.testing.assert_array_equal(output, wanted)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_gives_what_keras_2_gave(
    cell_class: Any, input_data: list[np.ndarray], return_sequences: bool
) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    inputs = tuple(data[:8].astype("float32") for data in input_data)
    options = {"return_sequences": return_sequences, "return_state": True}
    reference = tf_keras.layers.RNN(define_cell(tf_keras)(unit_1, unit_2, unit_3), **options)
    layer = kcells.RNN(cell_class(unit_1, unit_2, unit_3), **options)

    (expected, *expected_states) = reference(tuple(map(tf.constant, inputs)))
    layer.build(tuple(data.shape for data in inputs))
    layer.set_weights(reference.get_weights())
    (outputs, *states) = layer(inputs)

    assert len(states) == len(expected_states) == 2
    for given, wanted in zip((*outputs, *states), (*expected, *expected_states), strict=True):
        # float32 sums of 2,048 products in an order that may differ
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-5)
