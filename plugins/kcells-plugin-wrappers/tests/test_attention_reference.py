"""Attention against NumPy: outputs, states, and gradients of weights, inputs, states and memory."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from attention_reference import attention, bahdanau, location, luong, monotonic, run
from wrappers_reference import gru, lstm

import kcells
from kcells_plugin_wrappers import Bahdanau, Location, Luong, Monotonic

BATCH, TIME, FEATURES, UNITS, POSITIONS = 4, 4, 3, 4, 6
# A row of every kind: full, right-padded, with holes, empty; of steps and of positions.
STEPS = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]], bool)
MASK = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool
)
ALL = np.ones((BATCH, 3), bool)
ONE, SAME = {"m": (POSITIONS, 5)}, {"m": (POSITIONS, UNITS)}
TWO = {"a": (POSITIONS, 5), "b": (3, 2)}


def lstm_cell(dtype):
    return keras.layers.LSTMCell(UNITS, dtype=dtype)


def gru_cell(dtype):
    return keras.layers.GRUCell(UNITS, dtype=dtype)


def case(sizes, options, scores, cell=(lstm_cell, lstm), **reference):
    return sizes, options, scores, cell, reference


CASES = {
    "bahdanau": case(ONE, {}, [(bahdanau, False)]),
    "bahdanau, normalized": case(
        ONE,
        {
            "score": Bahdanau(3, normalize=True),
            "attention_units": 6,
            "activation": "tanh",
            "return_alignment": True,
        },
        [(bahdanau, False)],
        activation=np.tanh,
        alignment=True,
    ),
    "luong": case(ONE, {"score": "luong"}, [(luong, False)], (gru_cell, gru)),
    "luong, dot": case(
        SAME, {"score": Luong("dot"), "output_attention": False}, [(luong, False)], outputs="cell"
    ),
    "luong, scaled": case(
        ONE, {"score": Luong("scaled"), "attention_units": 2}, [(luong, False)], (gru_cell, gru)
    ),
    "location": case(
        ONE,
        {"score": Location(filters=2, width=3), "positions": POSITIONS, "return_alignment": True},
        [(location, True)],
        alignment=True,
    ),
    "location, even width": case(ONE, {"score": Location(5, 3, 4)}, [(location, True)]),
    "monotonic": case(
        ONE, {"score": Monotonic(noise=0.0), "return_alignment": True}, [(monotonic, True)],
        (gru_cell, gru), alignment=True,
    ),
    "two memories": case(
        TWO,
        {
            "score": {"a": "luong", "b": Location(2, 2, 3)},
            "attention_units": {"a": 3, "b": None},
            "return_alignment": True,
        },
        [(luong, False), (location, True)],
        alignment=True,
    ),
}  # fmt: skip


class Fed:
    """A layer whose inputs are a step's and the memory, so that both get gradients."""

    def __init__(self, layer, masks):
        self._layer, self._masks = layer, masks

    def __call__(self, given, **arguments):
        memory = given["memory"]
        constants = {"memory": memory, "mask": self._masks}
        if len(memory) == 1:
            constants = {"memory": memory["m"], "mask": self._masks["m"]}
        return self._layer(given["x"], constants=constants, **arguments)

    def __getattr__(self, name):
        return getattr(self._layer, name)


def drawn(rng, sizes):
    memory = {key: rng.normal(size=(BATCH, *size)) for key, size in sizes.items()}
    return {"memory": memory, "x": rng.normal(size=(BATCH, TIME, FEATURES))}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients(name, rng, compare):
    sizes, options, scores, (cell, step), of_reference = CASES[name]
    masks = {"m": MASK} if "m" in sizes else {"a": MASK}
    layer = Fed(
        kcells.build(
            kcells.cell("attention", cell("float64"), dtype="float64", **options),
            dtype="float64",
            return_sequences=True,
            return_state=True,
        ),
        masks,
    )
    given = drawn(rng, sizes)
    layer(given)
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.4, weight.shape))  # milder than a difference sees
    count = len(sizes)
    wrapped = attention(step, scores, **of_reference)
    every = [masks.get(key, ALL) for key in sizes]

    def reference(weights, *leaves):
        memories, x, states = leaves[:count], leaves[count], leaves[count + 1 :]
        return run(wrapped, weights, x, memories, every, states, STEPS)

    compare(layer, given, reference, mask=STEPS)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True])
def test_hard_monotonic(training, rng):
    """Inference chooses, training takes the expectation."""
    layer = kcells.build(
        kcells.cell(
            "attention", gru_cell("float64"), dtype="float64", return_alignment=True,
            score=Monotonic(noise=0.0, hard=True, offset=0.3),
        ),
        dtype="float64", return_sequences=True, return_state=True,
    )  # fmt: skip
    given = drawn(rng, ONE)
    memory, x = given["memory"]["m"], given["x"]
    constants = {"memory": memory, "mask": MASK}
    layer(x, constants=constants)
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 2.0, weight.shape))
    weights = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}

    def score(*given):
        return monotonic(*given, hard=not training)

    first = np.eye(POSITIONS)[np.zeros(BATCH, int)]
    states = [first, np.zeros((BATCH, 5)), np.zeros((BATCH, UNITS))]
    step = attention(gru, [(score, True)], alignment=True)
    expected = run(step, weights, x, [memory], [MASK], states, np.ones((BATCH, TIME), bool))
    found = keras.tree.flatten(layer(x, constants=constants, training=training))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(one), other, atol=1e-10)
    alignment = expected[1]
    assert alignment[:3].any()
    if not training:
        assert set(np.unique(alignment)) == {0.0, 1.0}
