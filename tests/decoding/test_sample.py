"""What is drawn has the distribution that it should have."""

import keras
import numpy as np
import pytest
from keras import ops

import kcells
from kcells.decoding import Sample
from kcells.errors import ConfigurationError

SCORES = np.array([1.0, 3.0, 0.0, 2.0, -1.0, 2.5])


def step(ids, states):
    return ops.take(ops.convert_to_tensor(TABLE), ids, axis=0), states


TABLE = np.tile(SCORES, (6, 1)).astype("float32")


def drawn(choose, rows=500, length=20):
    result = kcells.generate(step, [], np.zeros(rows, int), length, choose=choose)
    return np.asarray(ops.convert_to_numpy(result.outputs)), result


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def left_by(scores, top_k=None, top_p=None, temperature=1.0):
    """The distribution that is drawn from, in NumPy."""
    scores = scores / temperature
    order = np.argsort(-scores, kind="stable")[:top_k]
    p = softmax(scores[order])
    if top_p is not None:
        count = int(np.searchsorted(np.cumsum(p), top_p) + 1)
        order, p = order[:count], p[:count] / p[:count].sum()
    whole = np.zeros(len(scores))
    whole[order] = p
    return whole


# The 99.9% points of chi-squared for 1 to 5 degrees of freedom.
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.7},
        {"top_k": 4, "top_p": 0.9, "temperature": 1.5},
        {"top_k": 100},
        {"top_p": 1.0},
    ],
    ids=str,
)
def test_distribution(options):
    """Over rows and steps, of all and of one step after another."""
    ids, _ = drawn(Sample(**options, seed=7))
    p = left_by(SCORES, **options)
    counts = np.bincount(ids.ravel(), minlength=6)
    assert set(np.flatnonzero(counts)) == set(np.flatnonzero(p))
    some = p > 0
    expected = p[some] * ids.size
    chi = ((counts[some] - expected) ** 2 / expected).sum()
    assert chi < CRITICAL[some.sum() - 1]
    # Neighbours in a row have nothing to do with each other: as often equal as chance has it.
    equal, often = (ids[:, 1:] == ids[:, :-1]).mean(), (p**2).sum()
    assert abs(equal - often) < 5 * np.sqrt(often * (1 - often) / ids.size)
    equal = (ids[1:] == ids[:-1]).mean()
    assert abs(equal - often) < 5 * np.sqrt(often * (1 - often) / ids.size)


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}], ids=str)
def test_nothing_but_the_likeliest(options):
    ids, _ = drawn(Sample(**options, seed=1), rows=20)
    assert (ids == SCORES.argmax()).all()


def test_scores_are_those_of_the_model():
    """Whatever the temperature, and whatever was left out."""
    ids, result = drawn(Sample(temperature=2.0, top_k=4, seed=2), rows=5, length=8)
    wanted = np.log(softmax(SCORES))[ids].sum(axis=1)
    np.testing.assert_allclose(ops.convert_to_numpy(result.scores), wanted, rtol=1e-5)


def test_ties_let_no_more_through():
    def even(ids, states):
        return ops.zeros_like(ops.one_hot(ids, 6)), states

    choose = Sample(top_k=2, seed=0)
    result = kcells.generate(even, [], np.zeros(100, int), 10, choose=choose)
    assert len(set(ops.convert_to_numpy(result.outputs).ravel().tolist())) == 2


def test_seeds():
    """An int: the same in every call. None: others. A generator goes on."""
    one, again, other = (drawn(Sample(seed=s), 9)[0] for s in (4, np.int64(4), 5))
    assert (one == again).all()
    assert (one != other).any()
    first, second = (drawn(Sample(), 9)[0] for _ in range(2))
    assert (first != second).any()
    generator = keras.random.SeedGenerator(3)
    first, second = (drawn(Sample(seed=generator), 9)[0] for _ in range(2))
    assert (first != second).any()
    generator.state.assign([3, 0])
    assert (drawn(Sample(seed=generator), 9)[0] == first).all()


@pytest.mark.newest_keras  # 3.12 does not begin anew
def test_the_seed_of_the_process():
    keras.utils.set_random_seed(1)
    first = drawn(Sample(), 9)[0]
    keras.utils.set_random_seed(1)
    assert (drawn(Sample(), 9)[0] == first).all()


def test_random_numbers_of_a_step_and_of_a_function_that_chooses():
    """A generator that they hold goes on from step to step, and from call to call."""
    for_step, for_choice = keras.random.SeedGenerator(1), keras.random.SeedGenerator(2)

    def noisy(x, states):
        return x + keras.random.normal((4, 2), seed=for_step), states

    def chosen(outputs):
        return outputs + keras.random.normal((4, 2), seed=for_choice)

    runs = [kcells.generate(noisy, [], np.zeros((4, 2)), 5, choose=chosen) for _ in range(2)]
    moves = np.concatenate(
        [np.diff(ops.convert_to_numpy(run.outputs), axis=1).ravel() for run in runs]
    )
    assert len(np.unique(moves)) == moves.size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, r"temperature has to be above 0; received 0.\n.*choose=Greedy"),
        ({"top_k": 0}, "top_k has to be an int of at least 1, or None for all ids; received 0"),
        ({"top_k": 1.5}, "top_k has to be .* received 1.5"),
        ({"top_p": 0.0}, "top_p has to be above 0 and at most 1, or None; received 0.0"),
        ({"top_p": 1.5}, "top_p has to be .* received 1.5"),
        (
            {"seed": "x"},
            "seed has to be an int, a keras.random.SeedGenerator or None; received str",
        ),
    ],
)
def test_wrong_numbers(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Sample(**arguments)
