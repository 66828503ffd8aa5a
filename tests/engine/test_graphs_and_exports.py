"""Graphs of unknown size, exports, and what stands in the way of compiling."""

import keras
import numpy as np
import pytest
from calls_and_gradients import (
    close,
    numbers,
    on_jax,
    on_tensorflow,
    rare,
)
from keras import layers, ops, tree
from linear_cells import FEATURES, KINDS, Constant, Gated, built, sequences
from mixing_cell import COLUMNS, ROWS, VECTOR, MixingCell

import kcells
from kcells.errors import KCellsError

BATCH, TIME = 3, 6


# -- Exports of JAX


@on_jax
@pytest.mark.parametrize("checkpoint", [True, False])
def test_symbolic_batch_and_time(rng, checkpoint):
    import jax
    from jax import export

    layer = kcells.RNN(
        layers.SimpleRNNCell(5), return_sequences=True, checkpoint=checkpoint, dtype="float32"
    )
    model = keras.Sequential([keras.Input((None, FEATURES)), layer])
    b, t = export.symbolic_shape("b, t")
    traced = export.export(jax.jit(lambda x: model(x)))(
        jax.ShapeDtypeStruct((b, t, FEATURES), "float32")
    )
    for batch, time in ((3, 6), (1, 2)):
        x = rng.normal(size=(batch, time, FEATURES)).astype("float32")
        close(traced.call(x), layer(x), 1e-5)


@on_jax
def test_symbols_for_the_sizes_of_a_structure(rng):
    """One for all leaves, two that JAX knows to be equal, two lengths; two batches it refuses."""
    import jax
    from jax import export

    shapes = {"vector": (VECTOR,), "matrix": (ROWS, COLUMNS)}
    inputs = {key: keras.Input((None, *shape), name=key) for key, shape in shapes.items()}
    layer = kcells.RNN(MixingCell(), return_sequences=True)
    model = keras.Model(inputs, layer(inputs))

    def traced(batch, constraints=()):
        symbols = export.symbolic_shape(f"b, t, {batch}, u", constraints=constraints)
        specs = {
            key: jax.ShapeDtypeStruct((*lead, *shape), "float32")
            for lead, (key, shape) in zip((symbols[:2], symbols[2:]), shapes.items(), strict=True)
        }
        return export.export(jax.jit(lambda x: model(x)))(specs)

    x = {k: rng.normal(size=(2, 5, *shape)).astype("float32") for k, shape in shapes.items()}
    close(traced("b", ["t == u"]).call(x), model(x), 1e-5)
    close(traced("c", ["b == c", "t == u"]).call(x), model(x), 1e-5)
    close(traced("b").call(x), model(x), 1e-5)
    longer = {**x, "matrix": np.concatenate([x["matrix"]] * 2, axis=1)}
    assert all(np.isnan(leaf).all() for leaf in tree.flatten(traced("b").call(longer)))
    with pytest.raises(TypeError, match=r"b.*c") as caught:
        traced("c")
    assert not isinstance(caught.value, KCellsError)


# -- Graphs of TensorFlow


@on_tensorflow
@pytest.mark.parametrize("kind", [Gated, rare(Constant)])
@pytest.mark.parametrize("length", [TIME, None])
@pytest.mark.parametrize("masked", [False, True])
def test_uncompiled_in_a_model(rng, masked, length, kind):
    layer = kcells.RNN(kind(), compile="never")
    before = [layers.Masking()] if masked else []
    model = keras.Sequential([keras.Input((length, FEATURES)), *before, layer])
    model.compile("sgd", "mse")
    x = sequences(rng, batch=4)
    x[::2, 4:] = 0.0
    target = np.ones(model(x).shape, "float32")
    model.fit(x, target, batch_size=2, verbose=0)
    loop = kcells.RNN(layer.cell, parallel="never")
    mask = (x != 0.0).any(-1) if masked else None
    close(model.predict(x, verbose=0), loop(x, mask=mask), 1e-5)
    assert layer._plan.path == "parallel"


@on_tensorflow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("compile", ["never", "auto"])
def test_unknown_batch_and_time(rng, compile, sequences, kind):
    import tensorflow as tf

    cell = built(KINDS[kind]())
    options = {"return_sequences": sequences, "return_state": True}
    layer = kcells.RNN(cell, compile=compile, **options)
    loop = kcells.RNN(cell, parallel="never", **options)

    def float32(array):
        return tf.constant(array, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None, FEATURES))])
    def bare(x):
        return layer(x)

    x = float32(rng.normal(size=(BATCH, TIME, FEATURES)))
    close(bare(x), loop(x), 1e-5)
    states = tree.map_structure(float32, cell.packed(cell.random_states(rng, BATCH)))
    specs = [tf.TensorSpec((None, *s.shape[1:])) for s in tree.flatten(states)]

    @tf.function(input_signature=[tf.TensorSpec((None, None, FEATURES)), *specs])
    def started(x, *leaves):
        return layer(x, initial_state=tree.pack_sequence_as(states, list(leaves)))

    close(started(x, *tree.flatten(states)), loop(x, initial_state=states), 1e-5)
    # No step at all: nothing comes out, and the states stay.
    outputs, *after = started(x[:, :0], *tree.flatten(states))
    like, *_ = loop(x[:, :0], initial_state=states)
    assert not any(leaf.any() for leaf in numbers(outputs))
    assert [leaf.shape for leaf in numbers(outputs)] == [leaf.shape for leaf in numbers(like)]
    close(after, list(states) if isinstance(states, list) else [states], 0)


class Noisy(layers.Layer):
    """Draws numbers at every step."""

    state_size = output_size = FEATURES

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, inputs, states):
        h = inputs + 0.5 * states[0]
        return h + keras.random.normal(ops.shape(h), seed=self.seed_generator), [h]


@on_tensorflow
def test_an_obstacle_in_a_stack(rng):
    layer = kcells.RNN([Noisy(), Gated()])
    model = keras.Sequential([keras.Input((TIME, FEATURES)), layer, layers.Dense(1)])
    model.compile("sgd", "mse")
    x, target = sequences(rng, batch=4), np.ones((4, 1), "float32")
    losses = model.fit(x, target, epochs=2, batch_size=2, verbose=0).history["loss"]
    first, second = (model.predict(x, verbose=0) for _ in range(2))
    assert np.isfinite([*losses, model.evaluate(x, target, verbose=0)]).all()
    assert np.abs(first - second).max() > 1e-6
    assert "updates variables" in layer._met.obstacle
    noisy, linear = layer._plan.members
    assert (noisy.path, noisy.compiles) == ("loop", False)
    assert (linear.path, linear.compiles) == ("parallel", True)


@on_tensorflow
def test_second_derivatives_under_xla(float64, rng):
    import tensorflow as tf

    layer = kcells.RNN(layers.SimpleRNNCell(3), compile="never", return_sequences=True)
    x = tf.constant(sequences(rng, "float64"))
    layer.build((BATCH, TIME, FEATURES))

    def twice(x):
        sources = [*(v.value for v in layer.trainable_variables), x]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(tf.sin(layer(x)))
            found = inner.gradient(loss, sources)
            loss = sum(tf.reduce_sum(tf.sin(g)) for g in found)
        return found, outer.gradient(loss, sources)

    close(tf.function(twice, jit_compile=True)(x), twice(x))
