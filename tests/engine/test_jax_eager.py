"""JAX outside of any trace: equal calls share a program, and unequal ones never do."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import kcells

if keras.backend.backend() != "jax":
    pytest.skip("about the JAX backend", allow_module_level=True)

import jax
from jax import numpy as jnp

from kcells.engine.backends.jax_eager import _MOST, PROGRAMS, compiled_once


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(2, 5, 3)).astype("float32"))


@pytest.fixture
def made(monkeypatch):
    """A list with an entry for each program that was compiled."""
    texts, of = [], PROGRAMS.of

    def noted(closed):
        before = len(PROGRAMS)
        program = of(closed)
        texts.extend([str(closed.jaxpr)] * (len(PROGRAMS) - before))
        return program

    monkeypatch.setattr(PROGRAMS, "of", noted)
    monkeypatch.setattr(PROGRAMS, "_by_text", type(PROGRAMS._by_text)())
    return texts


@pytest.mark.parametrize("name", ["lstm", "ln_gru", "min_gru", "lru"])
@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"return_sequences": True}], ids=str)
def test_the_second_call_compiles_nothing(x, made, name, options):
    layer = kcells.build(name, 4, **options)
    first = layer(x)
    assert len(made) == 1
    for trial in (x, x + 1, x):
        last = layer(trial)
    assert len(made) == 1
    np.testing.assert_array_equal(first, last)


def test_layers_of_one_kind_share_a_program(x, made):
    one, two = (kcells.build("ln_gru", 4) for _ in range(2))
    outputs = one(x), two(x)
    assert len(made) == 1
    assert np.abs(np.subtract(*outputs)).max() > 1e-3  # with weights of their own


def test_what_was_changed_counts(x, made):
    """Whatever a step depends on: an attribute, a weight that is frozen, a policy."""
    cell = layers.GRUCell(4)
    layer = kcells.RNN(cell)
    before = layer(x)
    cell.activation = ops.sin
    after = layer(x)
    assert len(made) == 2
    assert np.abs(before - after).max() > 1e-3
    cell.kernel.assign(cell.kernel * 2)
    assert np.abs(layer(x) - after).max() > 1e-3
    assert len(made) == 2


def test_dropout_draws_anew(x):
    layer = kcells.build("ln_gru", 16, dropout=0.5)
    draws = [layer(x, training=True) for _ in range(3)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-3
    assert np.abs(draws[1] - draws[2]).max() > 1e-3


def test_functions_that_look_alike(made):
    """A custom derivative, say, shows in a program as the address of a function."""
    for factor in range(1, 6):

        @jax.custom_jvp
        def sine(x, factor=factor):
            return factor * ops.sin(x)

        sine.defjvps(lambda dx, _, x, factor=factor: factor * ops.cos(x) * dx)

        def function(x, sine=sine):
            return sine(x), x

        for found, expected in zip(
            compiled_once(function, (jnp.ones(3),)), function(jnp.ones(3)), strict=True
        ):
            np.testing.assert_allclose(found, expected)
    assert len(made) == 5


def test_arrays_that_the_text_of_a_program_hides():
    jax.config.update("jax_use_simplified_jaxpr_constants", True)
    try:
        for k in range(2):
            array = np.arange(3.0) + k
            found = compiled_once(lambda x, array=array: x * array, (jnp.ones(3),))
            np.testing.assert_array_equal(found, array)
    finally:
        jax.config.update("jax_use_simplified_jaxpr_constants", False)


def test_no_more_programs_than_so_many(made):
    for k in range(_MOST + 3):
        compiled_once(lambda x, k=k: x + float(k), (jnp.ones(()),))
    assert len(PROGRAMS) == _MOST


def test_inside_of_a_trace_there_is_no_program(x, made):
    layer = kcells.build("ln_gru", 4)
    layer.build(x.shape)
    weights = [w.value for w in layer.trainable_variables]

    def loss(weights, x):
        return layer.stateless_call(weights, [], x)[0].sum()

    jax.jit(loss)(weights, x)
    gradients = jax.grad(loss)(weights, x)
    assert not made
    np.testing.assert_allclose(
        jax.jit(jax.grad(loss))(weights, x)[0], gradients[0], rtol=1e-4, atol=1e-5
    )
