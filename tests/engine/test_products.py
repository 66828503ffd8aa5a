"""Products of a step's inputs alone, which are computed before the loop on a CPU."""

import dataclasses

import keras
import numpy as np
import numpy_loop
import pytest
from calls_and_gradients import MORE_WAYS, assert_same, call
from keras import layers, ops

import kcells
from kcells.engine import products
from kcells.engine.products import InputProduct, are_possible, pays
from kcells.engine.thresholds import THRESHOLDS

TRAINING, OTHERWISE = THRESHOLDS.products_ahead_in_training, THRESHOLDS.products_ahead_otherwise
BATCH, TIME, VECTOR, MATRIX, UNITS = 2, 6, 3, (4, 5), 3
HOLES = np.array([[0, 1, 0, 1, 1, 0], [0] * 6], bool)


not_on_torch = pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="PyTorch computes all of `project_inputs` before, and compiles no gradient of a user's",
)


class Summing(layers.Layer):
    """A cell of two inputs in a `call` alone, as the guide of Keras writes it."""

    def __init__(self, inside=lambda x: x, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.output_size = UNITS
        self.inside = inside

    def build(self, shapes):
        kernel = (*shapes["matrix"][1:], UNITS)
        self.vector_kernel = self.add_weight(shape=(shapes["vector"][1], UNITS), name="vector")
        self.matrix_kernel = self.add_weight(shape=kernel, name="matrix")
        self.recurrent_kernel = self.add_weight(shape=(UNITS, UNITS), name="recurrent")
        self.built = True

    def call(self, inputs, states):
        (h,) = states
        x = self.inside(ops.einsum("bij,ijk->bk", inputs["matrix"], self.matrix_kernel))
        x = x + ops.matmul(inputs["vector"], self.vector_kernel)
        h = ops.tanh(x + ops.matmul(h, self.recurrent_kernel))
        return h, [h]


class InATensorProduct(Summing):
    """The same by `tensordot`."""

    def call(self, inputs, states):
        x = ops.tensordot(inputs["matrix"], self.matrix_kernel, axes=2)
        x = x + ops.matmul(inputs["vector"], self.vector_kernel)
        h = ops.tanh(x + ops.matmul(states[0], self.recurrent_kernel))
        return h, [h]


@pytest.fixture
def least(monkeypatch):
    """Sets from how many weights a result on a product pays."""

    def set_both(number):
        ours = dataclasses.replace(
            THRESHOLDS, products_ahead_in_training=number, products_ahead_otherwise=number
        )
        monkeypatch.setattr(products, "THRESHOLDS", ours)

    return set_both


@pytest.fixture
def inputs(rng):
    return {
        "matrix": rng.normal(size=(BATCH, TIME, *MATRIX)),
        "vector": rng.normal(size=(BATCH, TIME, VECTOR)),
    }


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    """Leaves out PyTorch's compiler, which takes seconds, where there are to be graphs."""
    if keras.backend.backend() == "torch":
        from kcells.engine.backends import torch_blocks

        monkeypatch.setattr(torch_blocks, "_compiled", lambda graph, example: graph)


def made(cell, rng, inputs, **options):
    options = {"compile": "always", **options}
    layer = kcells.RNN(cell, return_sequences=True, return_state=True, **options)
    layer.build({key: x.shape for key, x in inputs.items()})
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    return layer


def numbers_of(layer):
    return [np.asarray(ops.convert_to_numpy(w)) for w in layer.weights]


@pytest.mark.parametrize("training", [False, True])
def test_from_how_many_weights_on_a_product_pays(training):
    least = TRAINING if training else OTHERWISE
    assert pays(InputProduct(least * 7, 7), training)
    assert not pays(InputProduct(least * 7 - 1, 7), training)
    assert are_possible([(2, 3), (2, 4, least // 2)], training)
    assert not are_possible([(2, 3), (2, 2 * least - 1)], training)


def test_a_batch_that_is_not_known_counts_as_one_of_fit():
    assert are_possible([(None, TRAINING * 32)], True)
    assert not are_possible([(None, TRAINING * 32 - 1)], True)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.TensorShape")
def test_a_number_a_step_has_no_sizes():
    import tensorflow as tf

    shapes = [tf.TensorShape([]), tf.TensorShape([2, TRAINING * 2])]
    assert are_possible(shapes, True)
    assert not are_possible(shapes[:1], True)


def test_sizes_that_are_not_known_are_not_large():
    assert not are_possible([(1, None), (1, 10**9)], True)


@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", [Summing, InATensorProduct])
def test_numpy_and_the_plain_loop_agree(float64, rng, least, inputs, cell, masked, training, way):
    layer = made(cell(), rng, inputs, go_backwards=masked)
    states = [rng.normal(size=(BATCH, UNITS))]
    given = {"mask": HOLES if masked else None, "training": training}
    least(0)
    ours = call(layer, inputs, states, way, **given)
    assert way == "eager" or len(layer._met.products) == 2
    least(10**9)
    other = made(cell(), rng, inputs, go_backwards=masked)  # PyTorch keeps the program of a layer.
    other.set_weights(numbers_of(layer))
    theirs = call(other, inputs, states, way, **given)
    assert way == "eager" or other._met.products == ()
    assert_same(ours, theirs)
    vector, matrix, recurrent = numbers_of(layer)

    def step(x, state):
        products = x["vector"] @ vector + np.einsum("ij,ijk->k", x["matrix"], matrix)
        h = np.tanh(products + state["h"] @ recurrent)
        return {"h": h}, {"h": h}

    mask = HOLES if masked else None
    outputs, _, final = numpy_loop.run(step, inputs, {"h": states[0]}, mask, masked)
    np.testing.assert_allclose(ours[0][0], outputs["h"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours[0][1], final["h"], rtol=1e-10, atol=1e-12)


def test_only_what_is_large_is_computed_before(float64, rng, least, inputs):
    layer = made(Summing(), rng, inputs)
    least(5)  # 60 weights for 6 results, and 9 for 6
    call(layer, inputs, training=True)
    assert layer._met.products == (InputProduct(60, 6),)


def test_a_result_may_be_changed_in_place(float64, rng, least, inputs):
    class Adding(Summing):
        def call(self, inputs, states):
            x = ops.matmul(inputs["vector"], self.vector_kernel)
            x += self.recurrent_kernel[0]
            return x, [states[0] + x]

    layer = made(Adding(), rng, inputs)
    least(0)
    ours = call(layer, inputs, training=True)
    assert len(layer._met.products) == 1
    assert layer._met.obstacle == ""
    least(10**9)
    other = made(Adding(), rng, inputs)
    other.set_weights(numbers_of(layer))
    assert_same(ours, call(other, inputs, training=True))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others change nothing in place")
def test_a_view_of_what_is_changed_in_place(float64, rng, least, inputs):
    class Viewing(Summing):
        def call(self, inputs, states):
            x = ops.einsum("bij,ijk->bk", inputs["matrix"], self.matrix_kernel)
            doubled = inputs["vector"] * 2
            view = doubled.view(-1, VECTOR)
            doubled.add_(1)
            h = ops.tanh(x + ops.matmul(view, self.vector_kernel) + states[0])
            return h, [h]

    layer = made(Viewing(), rng, inputs)
    least(0)
    ours = call(layer, inputs, training=True)
    assert layer._met.obstacle == ""
    assert len(layer._met.products) == 1
    other = made(Viewing(), rng, inputs, compile="never")
    other.set_weights(numbers_of(layer))
    assert_same(ours, call(other, inputs, training=True))


def test_what_depends_on_the_state_stays(float64, rng, least, inputs):
    class Reading(Summing):
        def call(self, inputs, states):
            (h,) = states
            seen = ops.concatenate([inputs["vector"], h], axis=-1)
            h = ops.tanh(ops.matmul(seen[:, :UNITS] + h, self.recurrent_kernel))
            return h, [h]

    layer = made(Reading(), rng, inputs)
    least(0)
    call(layer, inputs, training=True)
    assert layer._met.products == ()


@not_on_torch
def test_a_gradient_of_its_own_is_kept(float64, rng, least, inputs):
    @ops.custom_gradient
    def doubled_back(x):
        def gradient(*args, upstream=None):
            return 2 * (args[0] if upstream is None else upstream)

        return ops.tanh(x), gradient

    def before_the_product(inside):
        class Both(Summing):
            def call(self, inputs, states):
                return super().call({**inputs, "matrix": inside(inputs["matrix"])}, states)

        return Both(inside)

    layer = made(before_the_product(doubled_back), rng, inputs)
    least(0)
    ours = call(layer, inputs, training=True)
    # What is behind such a gradient stays on TensorFlow, which would lose it.
    assert len(layer._met.products) == (2 if keras.backend.backend() == "jax" else 1)
    least(10**9)
    assert_same(ours, call(layer, inputs, training=True))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="about JAX's effects")
def test_an_effect_of_a_step_stays_one(float64, rng, least, inputs):
    import jax

    seen = []

    class Showing(Summing):
        def call(self, inputs, states):
            jax.debug.callback(lambda h: seen.append(h.shape), states[0])
            jax.debug.callback(lambda x: seen.append(x.shape), inputs["vector"])
            return super().call(inputs, states)

    layer = made(Showing(), rng, inputs)
    least(0)
    layer(inputs)
    jax.effects_barrier()
    assert len(layer._met.products) == 2
    assert sorted(seen) == [(BATCH, UNITS)] * 2 * TIME


@not_on_torch
def test_masks_of_dropout_are_the_same(float64, rng, least, inputs):
    x = inputs["vector"]
    keras.utils.set_random_seed(1)
    layer = kcells.build("ln_gru", 3, dropout=0.5, recurrent_dropout=0.5, seed=3)
    layer.build(x.shape)
    seeds = [v for v in layer.variables if not v.trainable]
    before = [np.asarray(v) for v in seeds]
    results = []
    for number in (0, 10**9):
        least(number)
        for variable, value in zip(seeds, before, strict=True):
            variable.assign(value)
        results.append(call(layer, x, training=True))
        assert bool(layer._met.products) == (number == 0)
    assert_same(*results)


def test_random_numbers_of_each_step_are_not_those_of_all(rng, least, inputs):
    """What draws in a step runs at each."""

    class Drawing(Summing):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(1)

        def call(self, inputs, states):
            noise = keras.random.normal(ops.shape(inputs["vector"]), seed=self.seed)
            x = ops.matmul(inputs["vector"] * 0 + noise, self.vector_kernel)
            return x, [states[0]]

    layer = made(Drawing(), rng, inputs)
    least(0)
    x = {key: np.asarray(value, "float32") for key, value in inputs.items()}
    outputs = call(layer, x, training=True)[0][0]
    assert len({round(float(row[0, 0]), 5) for row in np.swapaxes(outputs, 0, 1)}) == TIME


@pytest.mark.parametrize("options", [{"checkpoint": True}, {"unroll": True}], ids=str)
def test_memory_that_is_to_be_saved_is_not_used(rng, least, inputs, options):
    layer = made(Summing(), rng, inputs, **options)
    least(0)
    call(layer, {k: np.asarray(x, "float32") for k, x in inputs.items()}, training=True)
    assert not layer._met.products
    assert not layer._plan.seeks_products


@not_on_torch
def test_the_default_finds_the_workload_of_the_guide(rng):
    """64 rows of 64 x 32 numbers into 20 x 30: 2048 weights for each of 64 results."""
    cell = kcells.cell("nested", 10, 20, 30)
    layer = kcells.RNN(cell)
    x = [np.zeros((64, 2, 32), "float32"), np.zeros((64, 2, 64, 32), "float32")]
    call(layer, x, training=True)
    assert layer._met.products == (InputProduct(2048 * 600, 64 * 600),)
    reasons = {r.condition: r for r in kcells.explain(layer).reasons}
    found = reasons["some pay"]
    assert found.holds
    assert "1228800 weights for 38400 results of a step" in found.detail
    call(layer, x, training=False)
    assert layer._met.products == ()
    reasons = {r.condition: r for r in kcells.explain(layer).reasons}
    assert not reasons["some pay"].holds
    assert "from 16 weights a result on in training" in reasons["some pay"].detail
