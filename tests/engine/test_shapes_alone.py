"""PyTorch, the device "meta": where there are shapes and no numbers, no loop has to run.

Keras calls a model there before the first `fit`, to learn what it returns.
"""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("about the PyTorch backend", allow_module_level=True)

from keras import layers, ops, tree
from linear_cells import FEATURES
from mixing_cell import COLUMNS, ROWS, VECTOR, MixingCell

import kcells

BATCH, TIME = 2, 40


@keras.saving.register_keras_serializable(package="kcells-tests")
class Counting(layers.SimpleRNNCell):
    """Counts its steps, those of all of its kind."""

    steps = 0

    def call(self, *args, **kwargs):
        type(self).steps += 1
        return super().call(*args, **kwargs)


LAYERS = {
    "last": lambda: kcells.RNN(Counting(3)),
    "sequences": lambda: kcells.RNN(Counting(3), return_sequences=True),
    "unrolled": lambda: kcells.RNN(Counting(3), unroll=True),
    "stateful": lambda: kcells.RNN(Counting(3, dropout=0.5), stateful=True),
    "both": lambda: kcells.Bidirectional(kcells.RNN(Counting(3))),
    "stack": lambda: kcells.RNN([layers.GRUCell(3), Counting(3)], dispatch="auto"),
}


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_first_fit_runs_the_steps_once(rng, kind, masked):
    inputs = keras.Input(batch_shape=(BATCH, TIME, FEATURES))
    x = layers.Masking()(inputs) if masked else inputs
    model = keras.Model(inputs, layers.Dense(1)(LAYERS[kind]()(x)))
    model.compile("sgd", "mse", metrics=["mae"])
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    target = np.zeros(model.output_shape, "float32")

    def steps_of_a_fit():
        before = Counting.steps
        model.fit(x, target, batch_size=BATCH, verbose=0)
        return Counting.steps - before

    first, second = steps_of_a_fit(), steps_of_a_fit()
    assert second == TIME * (2 if kind == "both" else 1)
    # A single step is traced, with two sizes for the batch.
    assert first - second <= 2


KERNELS = {
    "lstm": lambda **options: kcells.build("lstm", 3, **options),
    "gru": lambda **options: kcells.build("gru", 3, **options),
    "both": lambda **options: kcells.Bidirectional(kcells.build("gru", 3, **options)),
}


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("kind", [*KERNELS, "structures"])
def test_shapes_and_dtypes_are_those_of_a_call(kind, sequences):
    import torch

    options = {"return_sequences": sequences, "return_state": True, "dtype": "mixed_bfloat16"}
    if kind == "structures":
        layer = kcells.RNN(MixingCell(dtype="mixed_bfloat16"), **options)
        shapes = {"vector": (VECTOR,), "matrix": (ROWS, COLUMNS)}
    else:
        layer, shapes = KERNELS[kind](**options), (FEATURES,)
    x = tree.map_shape_structure(lambda shape: torch.ones(BATCH, TIME, *shape), shapes)
    wanted = layer(x)
    with keras.device("meta"):
        found = layer(tree.map_structure(ops.zeros_like, x))
    tree.assert_same_structure(found, wanted)
    for one, other in zip(tree.flatten(found), tree.flatten(wanted), strict=True):
        assert (one.shape, one.dtype, one.is_meta) == (other.shape, other.dtype, True)
