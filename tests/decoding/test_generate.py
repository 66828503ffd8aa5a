"""generate against loops of Python, step by step; what ends it, what goes around."""

import collections

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops, tree

import kcells
from kcells.decoding import Beam, Generated, Greedy, Sample
from tests.decoding.writers import WORDS, numbers, writer


def by_predict(model, start, length, end=None):
    """What greedy decoding gives, with the whole sequence predicted anew for each step."""
    seen = [[first] for first in start]
    for sequence in seen:
        for _ in range(length):
            scores = model.predict(np.array([sequence]), verbose=0)[0, -1]
            sequence.append(int(scores.argmax()))
            if sequence[-1] == end:
                break
    return [sequence[1:] for sequence in seen]


def sequences_of(result):
    ids, lengths = numbers(result.outputs), numbers(result.lengths)
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


# -- What is stepped


@pytest.mark.parametrize("name", ["gru", "lstm", "ln_gru"])
def test_a_streaming_model_says_what_predict_says(name):
    model, start = writer(name=name), [1, 4, 6]
    end = by_predict(model, start, 3)[1][2]
    wanted = by_predict(model, start, 9, end)
    stream = kcells.to_streaming(model)
    result = kcells.generate(stream, None, start, 9, end=end)
    assert isinstance(result, Generated)
    assert sequences_of(result) == wanted
    assert min(map(len, wanted)) < 9
    # The sum of log-probabilities, and the end where there is nothing more.
    for row, ids in enumerate(wanted):
        scores = model.predict(np.array([[start[row], *ids[:-1]]]), verbose=0)[0]
        gains = numbers(ops.log_softmax(scores))[np.arange(len(ids)), ids]
        np.testing.assert_allclose(numbers(result.scores)[row], gains.sum(), rtol=1e-4)
        assert (numbers(result.outputs)[row, len(ids) :] == end).all()
    assert numbers(result.outputs).dtype == numbers(result.lengths).dtype == np.int32


def by_hand(cell, embed, states, start, length):
    found, fed = [], ops.convert_to_tensor(start)
    for _ in range(length):
        scores, states = cell(embed(fed), states)
        fed = ops.argmax(scores, axis=-1)
        found.append(numbers(fed))
    return np.stack(found, axis=1), numbers(states)


@pytest.mark.parametrize("kind", ["cell", "layer", "stock layer", "stack", "function"])
def test_what_can_be_stepped(kind, rng):
    cells = [keras.layers.LSTMCell(3), kcells.cell("ln_gru", WORDS)]
    cell = {"stack": kcells.StackedCells(cells), "stock layer": keras.layers.LSTMCell(WORDS)}.get(
        kind, cells[1]
    )
    embed = layers.Embedding(WORDS, 4, embeddings_initializer="normal")
    step = {"layer": kcells.RNN(cell), "stock layer": keras.layers.RNN(cell)}.get(kind, cell)
    if kind == "function":

        def step(inputs, states):
            return cell(embed(inputs), states)

    feed = None if kind == "function" else embed
    states = {
        "stack": [[rng.normal(size=(2, 3))] * 2, rng.normal(size=(2, WORDS))],
        "stock layer": [rng.normal(size=(2, WORDS))] * 2,
    }.get(kind, [rng.normal(size=(2, WORDS))])
    states = tree.map_structure(lambda x: x.astype("float32"), states)
    result = kcells.generate(step, states, np.array([1, 2]), 6, feed=feed)
    ids, last = by_hand(cell, embed, states, np.array([1, 2]), 6)
    np.testing.assert_array_equal(numbers(result.outputs), ids)
    for ours, theirs in zip(tree.flatten(numbers(result.states)), tree.flatten(last), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_a_cell_starts_from():
    layer = kcells.RNN(keras.layers.GRUCell(WORDS), train_initial_state=True)
    layer(np.ones((1, 2, 4), "float32"))
    (first,) = (w for w in layer.weights if w.name.startswith("initial_state"))
    first.assign(np.arange(WORDS)[np.newaxis] / WORDS)
    embed = layers.Embedding(WORDS, 4)
    ours = kcells.generate(layer, None, [1, 2], 5, feed=embed)
    theirs = kcells.generate(
        layer, [np.tile(np.arange(WORDS) / WORDS, (2, 1))], [1, 2], 5, feed=embed
    )
    np.testing.assert_allclose(numbers(ours.states[0]), numbers(theirs.states[0]), atol=1e-6)
    zeros = kcells.generate(layer, [np.zeros((2, WORDS))], [1, 2], 5, feed=embed)
    assert np.abs(numbers(ours.states[0]) - numbers(zeros.states[0])).max() > 1e-4


def test_it_goes_on_from_its_states():
    stream = kcells.to_streaming(writer())
    whole = kcells.generate(stream, None, [1, 2, 3], 8)
    first = kcells.generate(stream, None, [1, 2, 3], 3)
    rest = kcells.generate(stream, first.states, first.outputs[:, -1], 5)
    both = np.concatenate([numbers(first.outputs), numbers(rest.outputs)], axis=1)
    np.testing.assert_array_equal(both, numbers(whole.outputs))
    np.testing.assert_allclose(
        numbers(first.scores) + numbers(rest.scores), numbers(whole.scores), rtol=1e-5
    )


def test_one_id_stands_for_every_row(language):
    states = language.first(3)
    ours = kcells.generate(language.step, states, 2, 5)
    theirs = kcells.generate(language.step, states, np.array([2, 2, 2], "int64"), 5)
    np.testing.assert_array_equal(numbers(ours.outputs), numbers(theirs.outputs))
    alone = kcells.generate(kcells.to_streaming(writer()), None, 2, 5)
    assert tuple(alone.outputs.shape) == (1, 5)


# -- Continuous outputs, and other ways to choose


def test_outputs_that_are_fed_back_as_they_are(rng):
    cell = keras.layers.GRUCell(4)
    states, fed = [rng.normal(size=(3, 4)).astype("float32")], rng.normal(size=(3, 4))
    result = kcells.generate(cell, states, fed, 5, choose=None)
    x, wanted = ops.convert_to_tensor(fed.astype("float32")), []
    for _ in range(5):
        x, states = cell(x, states)
        wanted.append(numbers(x))
    np.testing.assert_allclose(numbers(result.outputs), np.stack(wanted, axis=1), atol=1e-6)
    assert result.scores is None


Point = collections.namedtuple("Point", ["x", "y"])


def test_structures_and_an_end_of_ones_own():
    def step(inputs, states):
        count = states["count"] + 1
        return {"at": Point(inputs["at"].x * 2.0, inputs["at"].y + 1.0), "turn": count}, {
            "count": count
        }

    start = {"at": Point(np.ones((3, 2)), np.zeros((3,))), "turn": np.zeros(3, int)}
    # The rows end at different steps.
    states = {"count": np.array([0, 2, 4])}
    result = kcells.generate(
        step, states, start, 6, choose=None, end=lambda chosen: chosen["turn"] >= 5
    )
    assert numbers(result.lengths).tolist() == [5, 3, 1]
    outputs = numbers(result.outputs)
    assert isinstance(outputs["at"], Point)
    assert outputs["at"].x[:, :, 0].tolist() == [
        [2, 4, 8, 16, 32, 0],
        [2, 4, 8, 0, 0, 0],
        [2, 0, 0, 0, 0, 0],
    ]
    assert outputs["turn"].tolist() == [[1, 2, 3, 4, 5, 0], [3, 4, 5, 0, 0, 0], [5, 0, 0, 0, 0, 0]]
    assert numbers(result.states)["count"].tolist() == [5, 5, 5]


def test_a_function_chooses(language):
    """The least likely id, say."""
    states = language.first(2)
    result = kcells.generate(
        language.step, states, 0, 4, choose=lambda scores: ops.cast(ops.argmin(scores, -1), "int32")
    )
    for row in range(2):
        h, last = states["h"][row], 0
        for found in numbers(result.outputs)[row]:
            gains, h = language.after(h, last)
            last = int(gains.argmin())
            assert found == last


# -- States of any structure, for each way to choose

leaf_shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
structures = st.recursive(
    leaf_shapes,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2)
        | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)
        | st.tuples(inner, inner).map(lambda pair: Point(*pair))
    ),
    max_leaves=4,
)


def is_shape(value):
    return type(value) is tuple and all(isinstance(size, int) for size in value)


def mapped(function, sizes):
    if is_shape(sizes):
        return function(sizes)
    if isinstance(sizes, dict):
        return {key: mapped(function, value) for key, value in sizes.items()}
    inner = [mapped(function, value) for value in sizes]
    return Point(*inner) if isinstance(sizes, Point) else inner


@settings(
    max_examples=10 if keras.backend.backend() == "torch" else 4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sizes=structures, choose=st.sampled_from([Greedy(), Beam(3), Sample(seed=3)]))
def test_states_of_any_structure(language, sizes, choose):
    """Each leaf writes down what was said: ten times itself and the last id, row by row."""

    def step(ids, states):
        scores, h = language.step(ids, states[0])

        def noted(leaf):
            last = ops.reshape(ops.cast(ids, "float32"), (-1, *[1] * (len(leaf.shape) - 1)))
            return leaf * 10.0 + last

        return scores, [h, tree.map_structure(noted, states[1])]

    # The leaves themselves tell the rows apart.
    notes = mapped(lambda size: np.broadcast_to(np.zeros(()), (2, *size)).astype("float32"), sizes)
    start = np.array([1, 3])
    result = kcells.generate(step, [language.first(2), notes], start, 5, end=0, choose=choose)
    every = result.hypotheses or result
    ids, lengths = numbers(every.outputs).reshape(-1, 5), numbers(every.lengths).reshape(-1)
    firsts = np.repeat(start, len(ids) // 2)
    kept = numbers(every.states[1])
    lead = 2 if isinstance(choose, Beam) else 1
    assert [leaf.shape[lead:] for leaf in tree.flatten(kept)] == [
        leaf.shape[1:] for leaf in tree.flatten(notes)
    ]
    for row, (said, length) in enumerate(zip(ids, lengths, strict=True)):
        heard = [firsts[row], *said[: length - 1]]
        wanted = float("".join(str(int(token)) for token in heard))
        for leaf in tree.flatten(kept):
            flat = leaf.reshape(len(ids), *leaf.shape[lead:])
            assert (flat[row] == wanted).all()


# -- Constants


def test_constants_are_there_at_each_step(rng):
    pushes = rng.normal(size=(2, WORDS)).astype("float32") * 3

    def step(ids, states, constants):
        return ops.one_hot((ids + 1) % WORDS, WORDS) + constants["push"], states

    for choose in ("greedy", Beam(3)):
        ours = kcells.generate(step, [], [1, 2], 4, constants={"push": pushes}, choose=choose)
        for row in range(2):
            alone = kcells.generate(
                step, [], [1 + row], 4, constants={"push": pushes[row : row + 1]}, choose=choose
            )
            np.testing.assert_array_equal(numbers(ours.outputs)[row], numbers(alone.outputs)[0])


def test_constants_of_a_cell_and_of_feed(rng):
    class Pushed(kcells.Cell):
        state_size = WORDS

        def call(self, inputs, states, constants=None):
            h = ops.tanh(states[0] + constants) + inputs
            return h, [h]

    cell, push = Pushed(), rng.normal(size=(2, WORDS)).astype("float32")
    result = kcells.generate(
        cell, None, [1, 2], 3, constants=push, feed=lambda ids: ops.one_hot(ids, WORDS)
    )
    h, last = np.zeros((2, WORDS)), np.array([1, 2])
    for t in range(3):
        h = np.tanh(h + push) + np.eye(WORDS)[last]
        last = h.argmax(axis=-1)
        np.testing.assert_array_equal(numbers(result.outputs)[:, t], last)

    # A model with inputs that do not change gets them by way of feed.
    ids, picture = (
        keras.Input((None,), dtype="int32", name="ids"),
        keras.Input((3,), name="picture"),
    )
    shown = layers.RepeatVector(1)(layers.Dense(4)(picture))
    x = layers.Embedding(WORDS, 4)(ids) + shown
    scores = layers.Dense(WORDS)(kcells.build("gru", 4, return_sequences=True)(x))
    stream = kcells.to_streaming(
        keras.Model({"ids": ids, "picture": picture}, scores), stepwise=(layers.RepeatVector,)
    )
    seen = rng.normal(size=(2, 3)).astype("float32")

    def feed(chosen, constants):
        return {"ids": chosen, "picture": constants}

    result = kcells.generate(stream, None, [1, 2], 3, constants=seen, feed=feed, choose=Beam(2))
    alone = kcells.generate(stream, None, [2], 3, constants=seen[1:], feed=feed, choose=Beam(2))
    np.testing.assert_array_equal(numbers(result.outputs)[1], numbers(alone.outputs)[0])


# -- When it ends


class Counting:
    """Counts, in a variable, the steps that are run."""

    def __init__(self):
        self.steps = keras.Variable(0, dtype="int32", trainable=False)

    def __call__(self, ids, states):
        self.steps.assign(self.steps + 1)
        return ops.one_hot((ids + 1) % WORDS, WORDS) * 20.0, states


@pytest.mark.parametrize(("choose", "allowed"), [("greedy", 5), (Sample(seed=1), 5), (Beam(1), 5)])
def test_it_ends_when_all_rows_have(choose, allowed):
    step = Counting()
    result = kcells.generate(step, [], [4, 1, 3], 50, end=6, choose=choose)
    assert numbers(result.lengths).tolist() == [2, 5, 3]
    assert numbers(step.steps) == allowed
    assert numbers(result.outputs).shape == (3, 50)
    assert numbers(result.outputs)[:, :5].tolist() == [
        [5, 6, 6, 6, 6],
        [2, 3, 4, 5, 6],
        [4, 5, 6, 6, 6],
    ]


def test_it_does_not_end_before():
    step = Counting()
    result = kcells.generate(step, [], [4, 1], 3, end=6)
    assert numbers(result.lengths).tolist() == [2, 3]
    assert numbers(step.steps) == 3
    kcells.generate(step, [], [4, 1], 9)
    assert numbers(step.steps) == 12


# -- Dtypes


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = writer()
    keras.config.set_dtype_policy("float32")
    stream = kcells.to_streaming(model)
    result = kcells.generate(stream, None, [1, 2, 3], 6, choose=Beam(3, 0.5), end=0)
    assert keras.backend.standardize_dtype(result.scores.dtype) == "float32"
    greedy = kcells.generate(stream, None, [1, 2, 3], 6)
    states, fed = stream.initial_states(3), ops.convert_to_tensor([1, 2, 3])
    for t in range(6):
        given = stream({"inputs": fed, "states": states})
        states, fed = given["states"], ops.convert_to_tensor(numbers(greedy.outputs)[:, t])
        scores = numbers(ops.cast(given["outputs"], "float32"))
        picked = scores[np.arange(3), numbers(greedy.outputs)[:, t]]
        # What is compiled rounds less often, and near ties may fall either way.
        assert (scores.max(axis=-1) - picked < 0.1).all()
    assert "float16" in keras.backend.standardize_dtype(tree.flatten(greedy.states)[0].dtype)
