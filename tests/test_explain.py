"""`explain`: for a layer, for a model, for a call."""

import keras
import numpy as np
import pytest
from keras import layers

import kcells


def conditions(explanation, holds):
    return [r.condition for r in explanation.reasons if r.holds == holds]


def test_a_layer():
    layer = kcells.build("gru", 3, name="reader", unroll=True)
    explanation = kcells.explain(layer)
    assert (explanation.path, explanation.kernel) == ("unrolled", "unrolled")
    assert conditions(explanation, holds=False) == ["the loop is not unrolled"]
    first, *rows = str(explanation).splitlines()
    assert first == (
        f'layer "reader" (GRUCell): path unrolled, kernel unrolled,'
        f" {keras.backend.backend()} on {explanation.device}"
    )
    assert len(rows) == len(explanation.reasons)
    assert {row.split()[0] for row in rows} == {"yes", "no"}


def test_a_model():
    inputs = keras.Input((5, 2))
    x = kcells.build("gru", 3, dispatch="never", return_sequences=True)(inputs)
    model = keras.Model(inputs, kcells.Bidirectional(kcells.build("lstm", 3))(x))
    explanations = kcells.explain(model)
    assert [e.path for e in explanations] == ["loop", "fused", "fused"]
    assert str(explanations).count("path fused") == 2


def test_what_is_no_layer():
    with pytest.raises(kcells.errors.ArgumentError, match="takes a layer or a model"):
        kcells.explain("gru")
    assert str(kcells.explain(keras.Sequential([layers.Dense(1)]))).startswith("no recurrent")


MASKS = {
    "none": None,
    "right-padded": [[1, 1, 0], [1, 0, 0]],
    "left-padded": [[0, 1, 1], [1, 1, 1]],
    "with holes": [[1, 0, 1], [1, 1, 1]],
    "with a fully masked row": [[0, 0, 0], [1, 1, 0]],
}


@pytest.mark.parametrize("kind", MASKS)
def test_the_mask_that_arrives(kind):
    """Through a model, whose upstream layer makes the mask."""
    tokens = np.ones((2, 3), "int32") if MASKS[kind] is None else np.array(MASKS[kind])
    inputs = keras.Input((3,), dtype="int32")
    x = layers.Embedding(2, 4, mask_zero=kind != "none")(inputs)
    model = keras.Model(inputs, kcells.build("gru", 3)(x))
    (explanation,) = kcells.explain(model, tokens)
    assert explanation.path == "fused"
    (reason,) = (r for r in explanation.reasons if r.condition.startswith("the mask is right"))
    assert reason.holds == (kind in ("none", "right-padded"))
    assert reason.detail.startswith(kind)


def test_a_layer_and_its_inputs(rng):
    layer = kcells.build("lstm", 3)
    x = layers.Masking()(rng.normal(size=(2, 3, 4)) * np.array([[[0], [1], [1]], [[1], [1], [1]]]))
    explanation = kcells.explain(layer, x)
    assert explanation.path == "fused"
    assert any(r.detail.startswith("left-padded") for r in explanation.reasons)
    assert not layer.built


def test_explaining_changes_nothing(rng):
    layer = kcells.build("gru", 3, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 4)), layer])
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    model(x)
    before = keras.ops.convert_to_numpy(layer.states[0]).copy()
    kcells.explain(model, x)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.states[0]), before)
