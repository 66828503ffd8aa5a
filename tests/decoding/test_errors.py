"""What generate says of arguments, and of steps, that do not fit."""

import keras
import numpy as np
import pytest
from keras import layers, ops, tree

import kcells
from kcells.decoding import Greedy
from kcells.errors import ArgumentError, CellError, ConfigurationError, StructureError
from tests.decoding.writers import WORDS, writer


def anything(ids, states):
    return ops.one_hot(ids, WORDS), states


def zeros(chosen):
    return ops.zeros((2,), "int32")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": "gru"}, ArgumentError, "step has to be a cell, an RNN layer.*received str"),
        ({"step": [kcells.cell("gru", 3)]}, ArgumentError, r"pass kcells.StackedCells\(cells\)"),
        ({"step": layers.Dense(3)}, ArgumentError, "step is Dense .* which takes no states"),
        (
            {"step": keras.Sequential([keras.Input((2,))])},
            ArgumentError,
            r"takes no states.\n  Of a model .* pass kcells.to_streaming\(model\)",
        ),
        (
            {"step": kcells.build("ln_gru", 3, go_backwards=True)},
            ConfigurationError,
            "has go_backwards=True, which begins at the end",
        ),
        ({"initial_state": None}, ConfigurationError, "anything is a function, and nobody knows"),
        ({"choose": "beam"}, ArgumentError, "choose='beam' is no way to choose"),
        ({"choose": Greedy}, ArgumentError, "is no way to choose"),
        ({"feed": 3}, ArgumentError, "feed has to be a layer or a function; received 3"),
        ({"max_length": 0}, ConfigurationError, "max_length has to be an int of at least 1"),
        ({"max_length": 2.0}, ConfigurationError, r"max_length .* received 2.0"),
        ({"end": [1, 2]}, ArgumentError, r"end has to be an id, .*received \[1, 2\]"),
        ({"end": WORDS}, ConfigurationError, "end=7 is never chosen: the step gives 7 scores"),
        (
            {"constants": np.ones((2, 3))},
            ArgumentError,
            "neither anything nor feed has a parameter",
        ),
        (
            {"start": np.ones(2)},
            StructureError,
            r"start has to be ids, \(batch,\) ints.*received \(2,\) of float32",
        ),
        ({"start": {"a": np.ones(2, int)}}, StructureError, "start has to be ids"),
        (
            {"initial_state": {"h": np.ones((3, 2))}},
            StructureError,
            r'disagrees on the batch.\n  start +\(2,\)\n  initial_state\["h"\] +\(3, 2\)',
        ),
        ({"start": keras.Input((), batch_size=2)}, ConfigurationError, "it is called with symbols"),
        ({"start": {}, "choose": None}, StructureError, "start holds no tensor"),
        (
            {"start": np.ones((2, 4)), "choose": None, "feed": zeros},
            StructureError,
            r"start does not have its shape: what is chosen has leaves .*\n.*needed \(2, 4\)"
            r".*received \(2, 7\)",
        ),
        (
            {"start": [np.ones((2, 7))], "choose": None, "feed": zeros},
            StructureError,
            "start does not have its structure",
        ),
        (
            {"end": 3, "choose": lambda scores: scores, "start": np.ones((2, 7)), "feed": zeros},
            ConfigurationError,
            r"end=3 is an id, and what is chosen is no id but \(2, 7\)",
        ),
        (
            {"end": lambda ids: ids[0] == 1},
            StructureError,
            r"end\(chosen\) has to give \(batch,\) bools; its shape is \(\)",
        ),
    ],
)
def test_what_is_wrong_is_said(arguments, error, message):
    given = {"step": anything, "initial_state": [], "start": [1, 2], "max_length": 3}
    with pytest.raises(error, match=f"(?s){message}"):
        kcells.generate(**{**given, **arguments})


def test_what_a_step_gives_that_does_not_fit():
    states = [np.zeros((2, 3), "float32")]

    def one_thing(ids, states):
        return ops.one_hot(ids, 4)

    def other_states(ids, states):
        return ops.one_hot(ids, 4), {"h": states[0]}

    def wider_states(ids, states):
        return ops.one_hot(ids, 4), [ops.concatenate([states[0], states[0]], axis=-1)]

    def many(ids, states):
        return {"a": ops.one_hot(ids, 4)}, states

    with pytest.raises(CellError, match=r"one_thing must return \(outputs, states\)"):
        kcells.generate(one_thing, states, [1, 2], 3)
    with pytest.raises(StructureError, match="other_states: states has another structure"):
        kcells.generate(other_states, states, [1, 2], 3)
    with pytest.raises(StructureError, match=r"states\[0\] +needed \(2, 3\) +received \(2, 6\)"):
        kcells.generate(wider_states, states, [1, 2], 3)
    with pytest.raises(StructureError, match=r'the step gives \{"a": \(2, 4\)\}'):
        kcells.generate(many, states, [1, 2], 3)


def test_states_that_a_cell_or_a_model_does_not_have():
    cell = kcells.cell("ln_gru", 4)
    with pytest.raises(StructureError, match=r"initial_state\[0\] +needed \(2, 4\) +received"):
        kcells.generate(cell, [np.ones((2, 3))], [1, 2], 3, feed=layers.Embedding(4, 3))
    stream = kcells.to_streaming(writer())
    with pytest.raises(StructureError, match="initial_state has another structure"):
        kcells.generate(stream, [np.ones((2, 5))], [1, 2], 3)
    wrong = tree.map_structure(lambda leaf: np.ones((2, 4)), stream.initial_states(2))
    with pytest.raises(StructureError, match=r"initial_state has leaves of the wrong shape"):
        kcells.generate(stream, wrong, [1, 2], 3)


def test_a_hint_where_a_cell_gets_ids():
    with pytest.raises(Exception) as caught:  # noqa: PT011  # Keras' own, by backend
        kcells.generate(keras.layers.LSTMCell(4), None, [1, 2], 3)
    assert "needs feed=" in "".join(caught.value.__notes__)
