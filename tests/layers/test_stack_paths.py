"""A stack whose cells run one after the other: equal to one loop over all of them."""

import itertools

import keras
import numpy as np
import pytest
from calls_and_gradients import close, numbers, rare
from keras import ops, tree
from linear_cells import Bare, Gated, sequences

import kcells

BATCH, TIME, FEATURES = 3, 5, 2
HOLES = np.array([[0, 1, 0, 1, 1], [0] * 5, [1] * 5], bool)
FLAGS = ("return_sequences", "go_backwards", "zero_output_for_mask")


def stack(fast, **options):
    """Cells of every path, a stack in the stack; the same weights each time."""
    keras.utils.set_random_seed(3)
    inner = [kcells.cell("min_gru", 3), kcells.cell("lru", 4)]
    cells = [
        kcells.cell("lstm", 4, dropout=0.3, seed=1),
        kcells.cell(inner),
        kcells.cell("ln_gru", 3, normalize=False),
        kcells.cell("ln_gru", 2, dropout=0.3, seed=2),
    ]
    choice = "auto" if fast else "never"
    layer = kcells.build(cells, dispatch=choice, parallel=choice, return_state=True, **options)
    layer.build((BATCH, TIME, FEATURES))
    assert bool(layer._plan.members) == fast
    return layer


def results(layer, x, mask, gradients, states=None):
    def loss(arrays):
        found = layer(arrays[0], mask=mask, training=True, initial_state=states)
        leaves = tree.flatten(found)
        return sum(ops.sum(ops.sin(leaf)) * (k + 1.0) for k, leaf in enumerate(leaves))

    outputs = [ops.convert_to_numpy(leaf) for leaf in tree.flatten(layer(x, mask=mask))]
    weights, inputs = gradients(loss, layer.trainable_variables, [x])
    return outputs + weights + inputs


ALL_FLAGS = list(itertools.product([False, True], repeat=len(FLAGS)))


@pytest.mark.parametrize(
    ("flags", "masked"),
    [
        ((False,) * len(FLAGS), False),
        ((True,) * len(FLAGS), True),
        *(rare(flags, masked) for flags in ALL_FLAGS for masked in (False, True)),
    ],
    ids=str,
)
def test_equals_one_loop(float64, rng, gradients, flags, masked):
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    mask = ops.convert_to_tensor(HOLES) if masked else None
    options = dict(zip(FLAGS, flags, strict=True))
    ours, theirs = (results(stack(fast, **options), x, mask, gradients) for fast in (True, False))
    assert len(ours) == len(theirs) > 10
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_memory_of_a_stateful_stack(rng):
    x = rng.normal(size=(BATCH, 2, TIME, FEATURES)).astype("float32")
    both = [stack(fast, stateful=True) for fast in (True, False)]
    for piece in (0, 1):
        ours, theirs = (
            [ops.convert_to_numpy(y) for y in tree.flatten(layer(x[:, piece]))] for layer in both
        )
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_length_zero():
    outputs, *states = stack(True)(np.zeros((BATCH, 0, FEATURES), "float32"))
    assert tuple(outputs.shape) == (BATCH, 2)
    assert not any(ops.convert_to_numpy(leaf).any() for leaf in tree.flatten([outputs, states]))


def test_the_plan_and_its_explanation():
    layer = stack(True)
    assert [member.path for member in layer._plan.members] == ["fused", "parallel", "fused", "loop"]
    assert layer._plan.path == "loop"
    reasons = kcells.explain(layer).reasons
    assert reasons[0].detail == "cell 0: fused, cell 1: parallel, cell 2: fused, cell 3: loop"
    assert any(r.condition.startswith("cell 3: ") and not r.holds for r in reasons)


def test_all_cells_have_to_be_built_ins_for_require():
    assert kcells.build(["lstm", "gru"], 3, dispatch="require")._plan.path == "fused"
    with pytest.raises(kcells.errors.DispatchError, match="cell 1: the cell declares"):
        kcells.build(["lstm", "simple_rnn"], 3, dispatch="require")


def test_constants_and_subclasses_run_as_one_cell(rng):
    class Noted(kcells.StackedCells):
        def call(self, inputs, states, training=False):
            outputs, states = super().call(inputs, states, training=training)
            return -outputs, states

    cells = [keras.layers.LSTMCell(3), keras.layers.GRUCell(2)]
    layer = kcells.RNN(Noted(cells), dispatch="auto")
    assert not layer._plan.members
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    plain = kcells.RNN(kcells.StackedCells(cells), dispatch="auto")
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(x)), -ops.convert_to_numpy(plain(x)), rtol=1e-5, atol=1e-6
    )


def test_stacks_that_do_more_than_run_their_cells(rng):
    class Halved(kcells.StackedCells):
        def step(self, projected, states, training=False):
            outputs, states = super().step(projected, states, training=training)
            return 0.5 * outputs, states

    x = sequences(rng)
    plain = kcells.RNN(kcells.StackedCells([Gated()]))
    assert len(plain._plan.members) == 1
    halved = kcells.RNN(Halved([plain.cell.cells[0]]))
    assert not halved._plan.members
    close(halved(x), 0.5 * ops.convert_to_numpy(plain(x)), 1e-5)


def test_a_stack_keeps_its_loss(rng):
    stack = kcells.StackedCells([Gated(), Bare()], activity_regularizer="l2")
    layer = kcells.RNN(stack, unroll=True)
    assert layer._plan.members == kcells.RNN(stack)._plan.members == ()
    x = sequences(rng)
    layer(x)
    found = sum(map(float, numbers(layer.losses)))
    states, expected = [np.zeros((len(x), 4), "float32")] * 2, 0.0
    for t in range(x.shape[1]):
        _, states = stack(x[:, t], states)
        expected += sum(map(float, numbers(stack.losses)))
    assert found == pytest.approx(expected, rel=1e-5)
    assert found > 0.0
