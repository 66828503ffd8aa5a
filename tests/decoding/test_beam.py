"""Beam search against a look at every sequence, and against a beam search of NumPy."""

import numpy as np
import pytest
from keras import ops

import kcells
from kcells.decoding import Beam
from kcells.errors import ConfigurationError


def numbers(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def said(result, row, place):
    """What a place holds, as a tuple of ids."""
    length = int(numbers(result.hypotheses.lengths)[row, place])
    return tuple(numbers(result.hypotheses.outputs)[row, place, :length].tolist())


def penalized(total, length, alpha):
    return total / (((5 + length) / 6) ** alpha)


@pytest.mark.parametrize(
    ("end", "alpha"), [(0, 0.0), (0, 1.0), (2, 3.0), (None, 0.6), (lambda ids: ids != 1, 1.0)]
)
def test_a_beam_as_wide_as_the_language_finds_the_best_of_all(languages, end, alpha):
    language = languages(3)
    length, start = 4, np.array([1, 2])
    states = language.first(2)
    choose = Beam(3**length, length_penalty=alpha)
    result = kcells.generate(language.step, states, start, length, end=end, choose=choose)
    scores = numbers(result.hypotheses.scores)
    for row in range(2):
        ends = [0, 2] if callable(end) else [end]
        known = language.everything(states["h"][row], int(start[row]), length, ends)
        wanted = sorted(
            ((penalized(total, len(ids), alpha), ids) for ids, total in known.items()), reverse=True
        )
        assert [said(result, row, k) for k in range(len(wanted))] == [ids for _, ids in wanted]
        found = scores[row, : len(wanted)]
        np.testing.assert_allclose(found, [score for score, _ in wanted], rtol=1e-4)
        # There are no more.
        assert np.all(np.isneginf(scores[row, len(wanted) :]))
    # The best one, by itself.
    np.testing.assert_array_equal(numbers(result.outputs), numbers(result.hypotheses.outputs)[:, 0])
    np.testing.assert_array_equal(numbers(result.lengths), numbers(result.hypotheses.lengths)[:, 0])
    np.testing.assert_array_equal(numbers(result.scores), scores[:, 0])


def beam_search(language, h, start, length, end, width, alpha):
    """A list of (score, ids, state), the best first; plain Python."""
    kept = [(0.0, (), h)]

    def has_ended(ids):
        return end is not None and end in ids

    def rank(entry):
        return penalized(entry[0], len(entry[1]), alpha)

    for _ in range(length):
        following = []
        for total, ids, state in kept:
            if has_ended(ids):
                following.append((total, ids, state))
                continue
            gains, new = language.after(state, ids[-1] if ids else start)
            following += [(total + gains[k], (*ids, k), new) for k in range(language.count)]
        kept = sorted(following, key=rank, reverse=True)[:width]
        if all(has_ended(ids) for _, ids, _ in kept):
            break
    return [(rank(entry), entry[1], entry[2]) for entry in kept]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("width", "alpha", "end", "seed"),
    [(2, 0.0, 3, 0), (3, 0.8, 3, 1), (4, 2.0, 0, 2), (5, 0.6, None, 3), (1, 0.0, 2, 4)],
)
def test_narrow_beams(languages, width, alpha, end, seed):
    language, batch, length = languages(6, seed=seed), 4, 9
    start = np.arange(batch) % 6
    states = language.first(batch)
    choose = Beam(width, alpha)
    result = kcells.generate(language.step, states, start, length, end=end, choose=choose)
    for row in range(batch):
        wanted = beam_search(language, states["h"][row], start[row], length, end, width, alpha)
        assert [said(result, row, k) for k in range(len(wanted))] == [ids for _, ids, _ in wanted]
        np.testing.assert_allclose(
            numbers(result.hypotheses.scores)[row, : len(wanted)], [w[0] for w in wanted], rtol=1e-4
        )
        # The states of each are its own, as they were when it ended.
        np.testing.assert_allclose(
            numbers(result.hypotheses.states["h"])[row, : len(wanted)],
            [w[2] for w in wanted],
            atol=2e-4,
        )
    np.testing.assert_array_equal(
        numbers(result.states["h"]), numbers(result.hypotheses.states["h"])[:, 0]
    )


def test_longer_sequences_with_a_length_penalty(languages):
    lengths = []
    for alpha in (0.0, 4.0):
        language = languages(5, seed=2)
        states, choose = language.first(16), Beam(4, length_penalty=alpha)
        result = kcells.generate(language.step, states, 1, 12, end=0, choose=choose)
        lengths.append(numbers(result.lengths).mean())
    assert lengths[0] < lengths[1]


def test_the_length_penalty_is_that_of_wu():
    found = numbers(Beam(2, length_penalty=0.6).penalty(ops.convert_to_tensor([1, 7, 13])))
    np.testing.assert_allclose(found, [1.0, 2.0**0.6, 3.0**0.6], rtol=1e-6)


def test_one_place_is_greedy(language):
    states = language.first(5)
    greedy = kcells.generate(language.step, states, 1, 8, end=0)
    beam = kcells.generate(language.step, states, 1, 8, end=0, choose=Beam(1))
    for name in ("outputs", "lengths"):
        np.testing.assert_array_equal(numbers(getattr(greedy, name)), numbers(getattr(beam, name)))
    np.testing.assert_allclose(numbers(greedy.scores), numbers(beam.scores), rtol=1e-6)
    np.testing.assert_allclose(numbers(greedy.states["h"]), numbers(beam.states["h"]), rtol=1e-6)
    assert greedy.hypotheses is None


def test_ids_that_a_step_forbids_are_in_no_sequence(language):
    def step(ids, states):
        scores, states = language.step(ids, states)
        return ops.where(ops.arange(4) == 2, -float("inf"), scores), states

    result = kcells.generate(step, language.first(3), 1, 5, choose=Beam(4), end=0)
    ids, scores = numbers(result.hypotheses.outputs), numbers(result.hypotheses.scores)
    assert not np.isnan(scores).any()
    assert not (ids[np.isfinite(scores)] == 2).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width has to be an int of at least 1; received 0"),
        ({"width": 2.5}, "width has to be an int of at least 1; received 2.5"),
        ({"width": True}, "width has to be an int of at least 1; received True"),
        ({"width": 2, "length_penalty": -1}, "length_penalty has to be at least 0; received -1"),
    ],
)
def test_wrong_numbers(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Beam(**arguments)
