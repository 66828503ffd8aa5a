"""`trainable`, wherever it is said: nothing that is frozen goes on training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kcells

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")


@keras.saving.register_keras_serializable(package="kcells-tests")
class Outer(kcells.Cell):
    """Holds another cell, which is built with it."""

    def __init__(self, inner: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner
        self.state_size = self.output_size = 3

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "inner": keras.saving.deserialize_keras_object(config["inner"])})

    def build(self, input_shape):
        if not self.inner.built:
            self.inner.build(input_shape)
        self.late = keras.layers.Dense(3)
        self.late.build((None, 3))

    def call(self, inputs, states):
        output, states = self.inner(inputs, states)
        return self.late(output), states


MAKE = {
    "lstm": lambda **o: kcells.build("lstm", 3, **o),
    "gru": lambda **o: kcells.build("gru", 3, **o),
    "simple_rnn": lambda **o: kcells.build("simple_rnn", 3, **o),
    "mlstm": lambda **o: kcells.build("mlstm", 3, **o),
    "min_gru": lambda **o: kcells.build("min_gru", 3, **o),
    "stack": lambda **o: kcells.build(["lstm", "ln_gru"], 3, **o),
    "outer": lambda **o: kcells.RNN(Outer(kcells.cell("gru", 3)), **o),
    "both": lambda **o: kcells.Bidirectional(kcells.build("ln_gru", 3), **o),
}


def model_of(layer: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((5, 3)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def moved(model: keras.Model) -> list[bool]:
    before = [np.array(w) for w in model.layers[0].get_weights()]
    model.fit(X, np.ones((4, 1)), verbose=0)
    after = model.layers[0].get_weights()
    return [bool(np.any(a != b)) for a, b in zip(before, after, strict=True)]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", MAKE)
def test_the_argument_freezes(name):
    model = model_of(MAKE[name](trainable=False))
    layer = model.layers[0]
    assert layer.weights
    assert not layer.trainable_weights
    assert len(model.trainable_weights) == 2
    assert not any(moved(model))
    copies = keras.models.clone_model(model), keras.Sequential.from_config(model.get_config())
    for copy in copies:
        assert len(copy.trainable_weights) == 2
    layer.trainable = True
    model.compile(keras.optimizers.SGD(0.5), "mse")
    assert any(moved(model))


@pytest.mark.parametrize("name", ["lstm", "mlstm", "both"])
def test_set_later_on(name):
    layer = MAKE[name]()
    layer.trainable = False
    model = model_of(layer)
    assert len(model.trainable_weights) == 2
    layer.trainable = True
    assert len(model.trainable_weights) == 2 + len(layer.weights)


@pytest.mark.parametrize("name", ["gru", "mlstm"])
def test_a_frozen_cell_in_a_layer_that_trains(name):
    cell = kcells.cell(name, 3, trainable=False)
    layer = kcells.build(cell)
    model = model_of(layer)
    assert len(model.trainable_weights) == 2
    copy = keras.models.clone_model(model)
    assert len(copy.trainable_weights) == 2


def test_one_frozen_cell_of_a_stack():
    stack = kcells.build([kcells.cell("lstm", 3, trainable=False), kcells.cell("ln_gru", 3)])
    model = model_of(stack)
    assert len(stack.trainable_weights) == len(stack.cell.cells[1].weights)
    assert len(set(moved(model))) == 2
