"""The private names in `kcells/_keras_private.py`: each is there and means what it says.

Where one of these tests fails with a new Keras, `kcells/_keras_private.py` is the one file
to mend.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kcells import _keras_private as private

SEQUENCES = np.array([[[1, 1], [2, 2], [0, 0]], [[1, 1], [0, 0], [3, 3]]], dtype="float32")
MASK = [[True, True, False], [True, False, True]]


def traced(function: Callable[[Any], Any], backend: str) -> Callable[[Any], Any]:
    """`function` as the backend compiles it; PyTorch runs it as it is."""
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function)  # type: ignore[no-any-return]
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


class SeesMask(layers.Layer):
    """Notes the mask that Keras hands to it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.seen: list[Any] = []

    def call(self, inputs: Any, mask: Any = None) -> Any:
        self.seen.append(mask)
        return inputs


# -- get_mask and set_mask


def test_get_mask_finds_what_a_layer_attached() -> None:
    tensor = layers.Masking()(SEQUENCES)
    assert ops.convert_to_numpy(private.get_mask(tensor)).tolist() == MASK


def test_get_mask_finds_what_an_embedding_attached() -> None:
    tensor = layers.Embedding(5, 2, mask_zero=True)(np.array([[3, 1, 0]]))
    assert ops.convert_to_numpy(private.get_mask(tensor)).tolist() == [[True, True, False]]


@pytest.mark.parametrize("value", [SEQUENCES, 3.0, None, keras.KerasTensor((2, 3))], ids=type)
def test_get_mask_is_none_where_there_is_none(value: Any) -> None:
    assert private.get_mask(value) is None
    assert private.get_mask(ops.ones((2, 3, 2))) is None


def test_get_mask_works_on_symbolic_tensors() -> None:
    tensor = layers.Masking()(keras.Input((3, 2)))
    mask = private.get_mask(tensor)
    assert isinstance(mask, keras.KerasTensor)
    assert tuple(mask.shape) == (None, 3)


def test_get_mask_works_while_tracing(backend: str) -> None:
    def masked_sum(sequences: Any) -> Any:
        mask = private.get_mask(layers.Masking()(sequences))
        return ops.sum(ops.cast(mask, "int32"))

    assert int(traced(masked_sum, backend)(ops.convert_to_tensor(SEQUENCES))) == 4


def test_set_mask_is_what_keras_hands_to_the_next_layer() -> None:
    tensor = ops.convert_to_tensor(SEQUENCES)
    mask = ops.convert_to_tensor(np.array(MASK))
    private.set_mask(tensor, mask)
    assert private.get_mask(tensor) is mask
    layer = SeesMask()
    layer(tensor)
    assert ops.convert_to_numpy(layer.seen[0]).tolist() == MASK


def test_set_mask_to_none_takes_the_mask_away() -> None:
    tensor = layers.Masking()(SEQUENCES)
    private.set_mask(tensor, None)
    assert private.get_mask(tensor) is None
    layer = SeesMask()
    layer(tensor)
    assert layer.seen == [None]


@pytest.mark.newest_keras
def test_keras_has_no_public_way_to_a_mask() -> None:
    names = {"get_keras_mask", "set_keras_mask"}
    for module in (keras.utils, keras.ops, keras.backend, keras.layers):
        assert not names & set(dir(module)), (
            f"{module.__name__} now exports these: use them in kcells._keras_private"
        )


# -- sublayers


class Deep(layers.Layer):
    """Layers in an attribute, a list, a dict and in one another."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.one = layers.Dense(1, name="in an attribute")
        self.many = [layers.Dense(1, name="in a list")]
        self.named = {"key": layers.Dense(1, name="in a dict")}
        self.inner = layers.StackedRNNCells([layers.GRUCell(2, name="in a layer")], name="stack")

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs


def test_sublayers_finds_layers_at_every_depth() -> None:
    names = [layer.name for layer in private.sublayers(Deep(name="deep"))]
    assert names[0] == "deep", "the layer itself comes first"
    assert sorted(names[1:]) == [
        "in a dict",
        "in a layer",
        "in a list",
        "in an attribute",
        "stack",
    ]


def test_sublayers_of_a_model_are_its_layers_and_theirs() -> None:
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(2, name="first"), Deep(name="deep")], name="model"
    )
    names = {layer.name for layer in private.sublayers(model)}
    assert names >= {"model", "first", "deep", "stack", "in a layer"}


def test_sublayers_finds_a_shared_layer_once() -> None:
    outer, shared = layers.Layer(), layers.Dense(1)
    outer.first, outer.again = shared, [shared]
    assert list(private.sublayers(outer)) == [outer, shared]


def test_sublayers_of_anything_else_is_the_thing_itself() -> None:
    thing = object()
    assert list(private.sublayers(thing)) == [thing]


@pytest.mark.newest_keras
def test_keras_has_no_public_way_to_the_layers_of_a_layer() -> None:
    assert not hasattr(Deep(), "layers"), (
        "keras.layers.Layer now tells its layers: use that in kcells._keras_private.sublayers"
    )


# -- float64_stays_float64

_LOSES_DIGITS = {
    "torch": lambda x: ops.matmul(x, x),
    "jax": ops.tanh,
}


def test_float64_stays_float64(backend: str) -> None:
    """On TensorFlow nothing has to be done, and nothing is."""
    matrix = ops.convert_to_tensor(np.eye(2), dtype="float64")
    for name, function in _LOSES_DIGITS.items():
        with private.float64_stays_float64():
            assert keras.backend.standardize_dtype(function(matrix).dtype) == "float64"
        if name == backend:
            assert keras.backend.standardize_dtype(function(matrix).dtype) == "float32", (
                f"{backend} keeps float64 by itself: float64_stays_float64 may not be needed"
            )


def test_float64_stays_float64_ends_with_an_error() -> None:
    table = private._dtypes.BIT64_TO_BIT32_DTYPE
    before = dict(table)
    with pytest.raises(KeyError), private.float64_stays_float64():
        raise KeyError
    assert table == before


# -- Names of Keras' cells that kcells.cells.dropout goes by: public methods that no page
#    of the documentation promises.


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "SimpleRNNCell"])
def test_keras_cells_keep_a_dropout_mask_until_it_is_reset(name: str) -> None:
    cell = getattr(layers, name)(3, dropout=0.5, recurrent_dropout=0.5, seed=1)
    cell.build((None, 64))
    assert tuple(cell.get_build_config()["input_shape"])[1:] == (64,)
    for get, reset, like in (
        (cell.get_dropout_mask, cell.reset_dropout_mask, ops.ones((2, 64))),
        (cell.get_recurrent_dropout_mask, cell.reset_recurrent_dropout_mask, ops.ones((2, 64))),
    ):
        first = _flat(get(like))
        assert set(first) == {0.0, 2.0}, "dropped, or scaled up"
        assert _flat(get(like)) == first, "drawn once"
        reset()
        assert _flat(get(like)) != first, "drawn anew"


def _flat(masks: Any) -> list[float]:
    leaves = [ops.convert_to_numpy(mask).ravel() for mask in keras.tree.flatten(masks)]
    return [float(number) for number in np.concatenate(leaves)]


# -- exported_format; tests/engine/test_exports.py looks at what it finds during an export


@pytest.mark.newest_keras
@pytest.mark.once
def test_the_exporters_are_where_they_were() -> None:
    for name in private._EXPORTERS:
        if name != "tf2onnx.convert":  # Nobody needs to have it.
            assert importlib.util.find_spec(name) is not None, name


def test_no_file_is_written() -> None:
    assert private.exported_format() == ""


@pytest.mark.newest_keras
def test_keras_has_no_public_way_to_ask_whether_it_exports() -> None:
    names = {name for name in dir(keras.export) if not name.startswith("_")}
    assert names <= {"ExportArchive"}, (
        "keras.export has something new: see whether kcells._keras_private needs to look at frames"
    )
