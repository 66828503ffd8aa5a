"""generate compiles once for given sizes, and nothing of a step is frozen in a program."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import layers, ops

import kcells
from kcells.decoding import Beam, Sample
from kcells.errors import ConfigurationError
from tests.decoding.writers import WORDS, numbers, writer


@pytest.mark.parametrize("choose", ["greedy", Sample(seed=1), Beam(2)])
def test_nothing_is_traced_twice(language, choose):
    def run(batch, length=6):
        before = language.calls
        kcells.generate(language.step, language.first(batch), 1, length, choose=choose)
        return language.calls - before

    assert run(3) > 0
    assert run(3) == 0
    assert run(4) > 0
    assert (run(3), run(4)) == (0, 0)
    assert run(3, 5) > 0


LOOKS = {
    # With what TensorFlow says of a tensor without numbers; JAX always says the first.
    "float": (TypeError, lambda h: float(ops.sum(h)) > 0),
    "numpy": (NotImplementedError, lambda h: ops.convert_to_numpy(h).sum() > 0),
    "item": (AttributeError, lambda h: bool((ops.sum(h) > 0).item())),
}


@pytest.mark.parametrize(("error", "look"), LOOKS.values(), ids=LOOKS)
def test_a_step_that_looks_at_numbers(language, error, look):
    """Nothing of it is frozen in a trace: it is called each time, or cannot be compiled."""

    def step(ids, states):
        scores, states = language.step(ids, states)
        return (scores if look(states["h"]) else -scores), states

    states = language.first(1)
    if keras.backend.backend() != "torch":
        with pytest.raises(TypeError if keras.backend.backend() == "jax" else error):
            kcells.generate(step, states, 1, 12)
        return
    found = numbers(kcells.generate(step, states, 1, 12).outputs)[0]
    h, last, seen = states["h"][0], 1, set()
    for token in found:
        gains, h = language.after(h, last)
        last = int(gains.argmax() if h.sum() > 0 else gains.argmin())
        seen.add(bool(h.sum() > 0))
        assert token == last
    assert seen == {True, False}


def test_weights_that_change_count():
    """Also those that a function reaches for, which no argument names."""
    embed, dense = layers.Embedding(WORDS, WORDS), layers.Dense(WORDS)

    def step(ids, states):
        return dense(embed(ids)), states

    kcells.generate(step, [], [1, 2], 4)
    table = np.roll(np.eye(WORDS), 1, axis=1)
    embed.set_weights([table])
    dense.set_weights([np.eye(WORDS), np.zeros(WORDS)])
    result = kcells.generate(step, [], [1, 2], 4)
    assert numbers(result.outputs).tolist() == [[2, 3, 4, 5], [3, 4, 5, 6]]


def test_a_step_can_be_forgotten(language):
    stream = kcells.to_streaming(writer())
    kcells.generate(stream, None, 1, 3)
    held = weakref.ref(stream)
    del stream
    gc.collect()
    assert held() is None


def test_programs_of_functions_made_anew_do_not_pile_up(language):
    from kcells.decoding import program

    for _ in range(20):
        kcells.generate(language.step, language.first(1), 1, 1, feed=lambda ids: ids)
    assert len(program._programs[language]) <= program._KEPT


def test_what_cannot_be_looked_up_is_compiled_each_time(language):
    class Step:
        __hash__ = None

        def __call__(self, ids, states):
            return language.step(ids, states)

    class Feed:
        __hash__ = None

        def __call__(self, ids):
            return ids

    states = language.first(2)
    wanted = numbers(kcells.generate(language.step, states, 1, 4).outputs)
    for arguments in ({"step": Step()}, {"step": language.step, "feed": Feed()}):
        given = {"initial_state": states, "start": 1, "max_length": 4, **arguments}
        np.testing.assert_array_equal(numbers(kcells.generate(**given).outputs), wanted)


def test_two_threads(language):
    """With one program, which both find."""
    states = [language.first(3, seed) for seed in range(2)]
    wanted = [numbers(kcells.generate(language.step, s, 1, 30).outputs) for s in states]
    fresh = type(language)(4)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(kcells.generate, fresh.step, states[k % 2], 1, 30) for k in range(8)]
        for k, future in enumerate(found):
            np.testing.assert_array_equal(numbers(future.result().outputs), wanted[k % 2])


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="no graphs")
def test_inside_of_a_compiled_function(language):
    """Where sizes are known; without, it says so."""
    states, start = language.first(2), np.array([1, 3], "int32")
    wanted = numbers(kcells.generate(language.step, states, start, 4).outputs)

    def inside(start):
        return kcells.generate(language.step, states, start, 4).outputs

    if keras.backend.backend() == "jax":
        import jax

        found = jax.jit(inside)(start)
    else:
        import tensorflow as tf

        found = tf.function(inside, autograph=False)(tf.constant(start))
        unknown = tf.TensorSpec((None,), tf.int32)
        with pytest.raises(ConfigurationError, match="sizes that are not known"):
            tf.function(inside, autograph=False).get_concrete_function(unknown)
    np.testing.assert_array_equal(numbers(found), wanted)
