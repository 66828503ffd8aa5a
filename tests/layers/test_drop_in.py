"""Keras' own classes replaced by others, as people do who try kcells in an old program."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import kcells
from kcells import stock
from tests.fake_dists import run_python

INPUTS = np.random.default_rng(3).normal(size=(2, 5, 3)).astype("float32")
QUICK = {"recurrent_initializer": "glorot_uniform"}


def _never(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("kcells took what stands in the place of Keras' class")


REPLACEMENTS = {
    "RNN": kcells.RNN,
    "Bidirectional": kcells.Bidirectional,
    "StackedRNNCells": kcells.StackedCells,
}


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in stock.__all__:
        monkeypatch.setattr(keras.layers, name, REPLACEMENTS.get(name, _never))


def gru_cell() -> Any:
    return stock.GRUCell(4, **QUICK)


LAYERS = {
    "the replacement itself": lambda: keras.layers.RNN(gru_cell()),
    "a stack": lambda: keras.layers.RNN(keras.layers.StackedRNNCells([gru_cell(), gru_cell()])),
    "a stack of Keras": lambda: kcells.RNN(stock.StackedRNNCells([gru_cell()])),
    "both directions": lambda: keras.layers.Bidirectional(keras.layers.RNN(gru_cell())),
    "lstm": lambda: kcells.build("lstm", 4, **QUICK),
    "gru": lambda: kcells.build("gru", 4, **QUICK),
    "simple_rnn": lambda: kcells.build("simple_rnn", 4, **QUICK),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_run_and_load(replaced, tmp_path, name):
    model = keras.Sequential([keras.Input((5, 3)), LAYERS[name]()])
    expected = keras.ops.convert_to_numpy(model(INPUTS))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(INPUTS)), expected)
    assert len(kcells.explain(again)) == (2 if name == "both directions" else 1)


def test_plain_layers_are_those_of_keras(replaced):
    layer = kcells.Bidirectional(kcells.build("lstm", 4, **QUICK))
    layer(INPUTS)
    plain = kcells.to_builtin(layer)
    assert type(plain) is stock.Bidirectional
    assert type(plain.forward_layer) is stock.LSTM


@pytest.mark.once
def test_what_is_imported_later_finds_the_classes_of_keras(tmp_path):
    shown = run_python(
        """
        import keras

        own = {name: getattr(keras.layers, name) for name in ("LSTMCell", "GRUCell", "RNN")}
        import kcells

        for name in own:
            setattr(keras.layers, name, None)
        keras.layers.RNN = kcells.RNN
        import kcells.testing

        assert type(kcells.cell("gru", 4)) is own["GRUCell"]
        assert isinstance(keras.layers.RNN(kcells.cell("lstm", 4)), own["RNN"])
        print(*{result.status for result in kcells.testing.run_checks("gru", only="equivalent")})
        """,
        cwd=tmp_path,
        KERAS_BACKEND=keras.backend.backend(),
    )
    assert shown.splitlines()[-1] == "passed"
