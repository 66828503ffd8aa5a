"""What only a GPU can show: that cuDNN runs, and computes what the loop computes."""

import keras
import numpy as np
import pytest
from keras import layers
from parity import BATCH, BUILTINS, FEATURES, MASKS, TIME, UNITS, Parity, differences, mask_of

import kcells
from kcells.engine import backends
from kcells.testing import Differentiated

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends.current().device() != "gpu", reason="there is no GPU"),
]
CELLS = {"lstm": layers.LSTMCell, "gru": layers.GRUCell}


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("go_backwards", [False, True])
def test_cudnn_computes_what_the_loop_computes(name, go_backwards, rng):
    parity = Parity(
        CELLS[name](UNITS), rng, dtype="float32", go_backwards=go_backwards, return_sequences=True
    )
    assert parity.fused._plan.kernel == "cudnn"
    for kind in MASKS:
        # Products in TF32 have ten bits.
        where, worst = parity.worst(kind)
        assert worst < 5e-3, (kind, where)


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("kind", ["none", "holes"])
def test_both_directions(name, kind, rng):
    fused, loop = (
        kcells.Bidirectional(kcells.build(name, UNITS, dispatch=dispatch, return_sequences=True))
        for dispatch in ("auto", "never")
    )
    for layer in (fused, loop):
        layer.build((BATCH, TIME, FEATURES))
    loop.set_weights(fused.get_weights())
    mask = mask_of(kind)
    sides = [
        Differentiated(layer, lambda leaves, layer=layer: [layer(leaves[0], mask=mask)])
        for layer in (fused, loop)
    ]
    x = [rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")]
    cotangent = [rng.normal(size=(BATCH, TIME, 2 * UNITS)).astype("float32")]
    where, worst = differences(*(side(x, cotangent) for side in sides))
    assert worst < 5e-3, where


@pytest.mark.parametrize("name", BUILTINS)
def test_it_is_cudnn_that_runs(name, rng, backend):
    layer = kcells.build(name, UNITS, return_sequences=True)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer.build(x.shape)
    if backend == "torch":
        assert "cudnn" in _torch_profile(layer, x)
    elif backend == "jax":
        assert "cudnn" in _jax_program(layer, x).lower()
    else:
        assert "CudnnRNNV3" in _tensorflow_operations(layer, x)


def _torch_profile(layer, x):
    import torch

    with torch.profiler.profile() as profile:
        layer(x)
    return " ".join(event.key for event in profile.key_averages())


def _jax_program(layer, x):
    import jax

    def call(values, x):
        mapping = list(zip(layer.variables, values, strict=True))
        with keras.StatelessScope(mapping):
            return layer(x)

    return jax.jit(call).lower([v.value for v in layer.variables], x).compile().as_text()


def _tensorflow_operations(layer, x):
    import tensorflow as tf

    graph = tf.function(layer).get_concrete_function(tf.constant(x)).graph
    return {operation.type for operation in graph.get_operations()}


def test_a_fit(rng):
    model = keras.Sequential(
        [keras.Input((TIME, FEATURES)), kcells.Bidirectional(kcells.build("lstm", 8))]
    )
    model.compile("sgd", "mse")
    history = model.fit(
        rng.normal(size=(16, TIME, FEATURES)), np.ones((16, 16)), epochs=3, verbose=0
    )
    assert history.history["loss"][-1] < history.history["loss"][0]
