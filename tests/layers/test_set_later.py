"""Attributes that people set on a layer that is built: they count, or say why they can't."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import kcells
from kcells._keras_private import get_mask
from kcells.errors import ArgumentError, ConfigurationError

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
MAKE = {
    "lstm": lambda: kcells.build("lstm", 4),
    "mlstm": lambda: kcells.build("mlstm", 4),
    "stack": lambda: kcells.build(["gru", "ln_gru"], 4),
    "both": lambda: kcells.Bidirectional(kcells.build("ln_gru", 4)),
}


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", MAKE)
def test_stateful(name):
    layer = MAKE[name]()
    fresh = numbers(layer(X))
    np.testing.assert_array_equal(numbers(layer(X)), fresh)
    layer.stateful = True
    first, second = numbers(layer(X)), numbers(layer(X))
    np.testing.assert_allclose(first, fresh, rtol=1e-5, atol=1e-6)
    assert np.abs(second - first).max() > 1e-4
    layer.stateful = False
    np.testing.assert_allclose(numbers(layer(X)), fresh, rtol=1e-5, atol=1e-6)


def test_stateful_for_any_batch_size():
    layer = kcells.build("mlstm", 4)
    keras.Sequential([keras.Input((3, 4)), layer])
    with pytest.raises(ConfigurationError, match="stateful=True needs a fixed batch size"):
        layer.stateful = True
    assert not layer.stateful


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", MAKE)
def test_what_is_returned(name):
    layer = MAKE[name]()
    layer(X)
    layer.return_sequences = True
    assert tuple(layer(X).shape[:2]) == (2, 3)
    layer.return_state = True
    assert tuple(layer(X)[0].shape[:2]) == (2, 3)


def test_the_direction_of_time():
    layer = kcells.build("ln_gru", 4)
    layer(X)
    layer.go_backwards = True
    backwards = numbers(layer(X))
    layer.go_backwards = False
    np.testing.assert_allclose(numbers(layer(X[:, ::-1])), backwards, rtol=1e-5, atol=1e-6)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("attribute", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("name", ["lstm", "mlstm"])
def test_dropout(name, attribute):
    layer = kcells.build(name, 4, **{attribute: 0.5})
    quiet = numbers(layer(X))
    setattr(layer.cell, attribute, 0.0)
    np.testing.assert_allclose(numbers(layer(X, training=True)), quiet, rtol=1e-5, atol=1e-6)
    setattr(layer.cell, attribute, 0.9)
    assert np.abs(numbers(layer(X, training=True)) - quiet).max() > 1e-4


def test_dropout_of_cells_with_inputs_of_their_own_kind():
    cells = kcells.cell("nested", 2, 2, 2, dropout=0.5), kcells.cell("conv_gru", 2, 3, dropout=0.5)
    for cell in cells:
        cell.dropout, cell.recurrent_dropout = 0.0, 0.25
        assert (cell.input_dropout.rate, cell.state_dropout.rate) == (0.0, 0.25)
        assert cell.get_config()["recurrent_dropout"] == 0.25
        with pytest.raises(ConfigurationError, match="the rate must be at least 0"):
            cell.dropout = 1.5


def test_an_option_that_is_set_to_nonsense():
    layer = kcells.build("ln_gru", 4)
    layer(X)
    layer.tbptt = "often"
    with pytest.raises(ArgumentError, match="tbptt must be a positive int"):
        layer(X)


def test_dropout_of_a_cell_that_was_built_without():
    cell = kcells.cell("mlstm", 4)
    cell.dropout = 0.5
    assert cell.get_config()["dropout"] == 0.5
    layer = kcells.build("mlstm", 4)
    layer(X)
    with pytest.raises(ConfigurationError, match="built without dropout"):
        layer.cell.dropout = 0.5
    with pytest.raises(ConfigurationError, match="the rate must be at least 0"):
        layer.cell.recurrent_dropout = 1.0


@pytest.mark.parametrize("name", ["lstm", "both"])
def test_a_mask_goes_on_whatever_the_base_class_says(name, monkeypatch):
    """As that of Keras 3.16 will: it says that it supports none."""
    for stock in (keras.layers.RNN, keras.layers.Bidirectional):

        def without(self, *args, construct=stock.__init__, **kwargs):
            construct(self, *args, **kwargs)
            self.supports_masking = False

        monkeypatch.setattr(stock, "__init__", without)
    layer = MAKE[name]()
    assert layer.supports_masking
    layer.return_sequences = True
    inputs = keras.Input((3, 4))
    assert get_mask(layer(keras.layers.Masking()(inputs))) is not None
