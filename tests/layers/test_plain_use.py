"""A layer in the plain way of each framework, without Keras' `fit`."""

import copy
import pickle

import keras
import numpy as np
import pytest

import kcells

BACKEND = keras.backend.backend()
NAMES = ["lstm", "ln_gru", "min_gru", "parallel"]
BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 2


def about(backend):
    return pytest.mark.skipif(backend != BACKEND, reason=f"about {backend}")


def make(name):
    """A built layer, and arrays for it."""
    x = np.random.default_rng(1).normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    if name == "parallel":
        cells = {"a": kcells.cell("mlstm", UNITS), "b": kcells.cell("gru", UNITS)}
        layer, x = kcells.build("parallel", cells), {"a": x, "b": 2 * x}
    else:
        layer = kcells.build(name, UNITS)
    layer(x)
    return layer, x


def total(outputs):
    """The sum over all outputs of the squares."""
    leaves = keras.tree.flatten(outputs)
    return sum(keras.ops.sum(keras.ops.square(leaf - 1.0)) for leaf in leaves)


@about("torch")
@pytest.mark.parametrize("name", NAMES)
def test_a_module_of_torch(name):
    import torch

    layer, x = make(name)
    tensors = keras.tree.map_structure(torch.tensor, x)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = layer
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            return keras.tree.map_structure(lambda y: self.scale * y, self.recurrent(x))

    net = Net()
    # A seed is a parameter too, one that is not trained.
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    assert len(trained) == len(layer.trainable_weights) + 1
    optimizer = torch.optim.Adam(trained, 0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = total(net(tensors))
        loss.backward()
        assert all(parameter.grad is not None for parameter in trained)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    with torch.no_grad():
        before, kept = float(total(net(tensors))), copy.deepcopy(net.state_dict())
        twin = copy.deepcopy(net)
        for parameter in trained:
            parameter.add_(1.0)
        assert float(total(net(tensors))) != pytest.approx(before)
        assert float(total(twin(tensors))) == pytest.approx(before, rel=1e-5)
        net.load_state_dict(kept)
        assert float(total(net(tensors))) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_copies(name):
    layer, x = make(name)
    model = keras.Sequential([layer]) if name != "parallel" else layer
    wanted = [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x))]
    copies = [copy.deepcopy(model)]
    if isinstance(model, keras.Model):
        copies.append(pickle.loads(pickle.dumps(model)))  # noqa: S301
    for twin in copies:
        for ours, theirs in zip(keras.tree.flatten(twin(x)), wanted, strict=True):
            np.testing.assert_allclose(keras.ops.convert_to_numpy(ours), theirs, rtol=1e-5)


@about("jax")
@pytest.mark.parametrize("name", NAMES)
def test_functions_of_jax(name):
    import jax

    layer, x = make(name)
    trainable = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]

    def loss(trainable, x):
        outputs, _ = layer.stateless_call(trainable, others, x)
        return total(outputs)

    value, gradients = jax.jit(jax.value_and_grad(loss))(trainable, x)
    eager = total(layer(x))
    np.testing.assert_allclose(value, eager, rtol=1e-5)
    moved = [v - 0.01 * g for v, g in zip(trainable, gradients, strict=True)]
    assert float(loss(moved, x)) < float(value)
    rows = keras.tree.map_structure(lambda leaf: leaf[:, None], x)
    each = jax.jit(jax.vmap(loss, in_axes=(None, 0)))(trainable, rows)
    assert each.shape == (BATCH,)
    np.testing.assert_allclose(each.sum(), value, rtol=1e-5)


@about("tensorflow")
@pytest.mark.parametrize("compile_", ["auto", "never"])
@pytest.mark.parametrize("name", NAMES)
def test_tapes_of_tensorflow(name, compile_):
    import tensorflow as tf

    layer, x = make(name)
    layer.compile = compile_
    tensors = keras.tree.map_structure(tf.constant, x)
    weights = [v.value for v in layer.trainable_variables]

    @tf.function
    def twice(tensors):
        found = []
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = total(layer(tensors, training=True))
            found.append([loss, *tape.gradient(loss, weights)])
        return found

    first, second = twice(tensors)
    with tf.GradientTape() as tape:
        loss = total(layer(tensors, training=True))
    eager = [loss, *tape.gradient(loss, weights)]
    for one, other, third in zip(first, second, eager, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one, third, rtol=1e-4, atol=1e-5)
