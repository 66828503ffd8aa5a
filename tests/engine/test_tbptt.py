"""`tbptt`: the gradients of pieces of a sequence, each from a state without a gradient."""

import keras
import numpy as np
import pytest
from calls_and_gradients import MORE_WAYS, WAYS, assert_same, call, differentiate, rare
from keras import ops, tree
from linear_cells import Gated
from mixing_cell import MixingCell, pack, random_inputs, random_states

import kcells

BATCH, TIME = 4, 7
MASKS = {
    "none": None,
    "right": np.array(
        [[1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0], [1] * 7, [1, 1, 1, 0, 0, 0, 0]], bool
    ),
    "holes": np.array(
        [[0, 1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1, 0], [0] * 7, [0, 0, 1, 1, 1, 1, 1]], bool
    ),
}
NESTED = "nested"


def mixing(rng):
    cell = MixingCell(NESTED)
    cell.build(None)
    cell.built = True
    for weight in cell.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    inputs, states = random_inputs(rng, BATCH, TIME), random_states(rng, BATCH)
    return cell, *(pack(NESTED, x["vector"], x["matrix"]) for x in (inputs, states))


def in_pieces(cell, inputs, states, mask, steps, go_backwards=False, zeros=True, sequences=True):
    """Row by row, without the steps that do not count, `steps` at a time."""
    layer = kcells.RNN(
        cell, return_sequences=True, return_state=True, parallel="never", compile="never"
    )
    count = len(tree.flatten(inputs))
    leaves = tree.flatten((inputs, states))
    valid = np.ones((BATCH, TIME), bool) if mask is None else mask

    def of_a_row(row, tensors):
        order = np.arange(TIME)[::-1] if go_backwards else np.arange(TIME)
        there = valid[row][order]
        places = order[there]
        xs = [ops.take(t[row : row + 1], places, axis=1) for t in tensors[:count]]
        state = [t[row : row + 1] for t in tensors[count:]]
        emitted = []
        for start in range(0, len(places), steps):
            if start:
                state = [ops.stop_gradient(s) for s in state]
            piece = [x[:, start : start + steps] for x in xs]
            results = tree.flatten(
                layer(
                    tree.pack_sequence_as(inputs, piece),
                    initial_state=tree.pack_sequence_as(states, state),
                )
            )
            state = results[-len(state) :]
            emitted.append(results[: -len(state)])
        if not emitted:
            shapes = [
                tuple(s.shape[2:])
                for s in tree.flatten(
                    layer.compute_output_spec(
                        tree.map_structure(lambda x: keras.KerasTensor(x.shape), inputs)
                    )[0]
                )
            ]
            return [ops.zeros((1, TIME, *shape)) for shape in shapes], state
        outputs = [ops.concatenate(parts, axis=1) for parts in zip(*emitted, strict=True)]
        # Where each step's output comes from: its own, or the last valid one's, or none.
        come_from = np.zeros((TIME, len(places)))
        until = np.cumsum(there)
        for t in range(TIME):
            if there[t] or (until[t] and not zeros):
                come_from[t, until[t] - 1] = 1.0
        return [
            ops.moveaxis(ops.tensordot(come_from, y, axes=[[1], [1]]), 0, 1) for y in outputs
        ], state

    def function(tensors):
        rows = [of_a_row(row, tensors) for row in range(BATCH)]
        outputs, final = (
            [ops.concatenate(parts, axis=0) for parts in zip(*part, strict=True)]
            for part in zip(*rows, strict=True)
        )
        return [y if sequences else y[:, -1] for y in outputs] + final

    return differentiate(function, layer, leaves, "eager")


@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize("steps", [3, rare(1), rare(2)])
@pytest.mark.parametrize("mask", ["holes", *map(rare, ("none", "right"))])
def test_pieces(float64, rng, mask, steps, way):
    cell, inputs, states = mixing(rng)
    options = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
    layer = kcells.RNN(cell, tbptt=steps, **options)
    given = MASKS[mask]
    ours = call(layer, inputs, states, way, mask=given, training=True)
    assert_same(ours, in_pieces(cell, inputs, states, given, steps))
    # And it does something.
    whole = call(kcells.RNN(cell, **options), inputs, states, mask=given, training=True)
    assert max(np.abs(a - b).max() for a, b in zip(ours[1], whole[1], strict=True)) > 1e-2


@pytest.mark.parametrize("mask", ["holes", *map(rare, ("none", "right"))])
@pytest.mark.parametrize(
    ("backwards", "zeros", "sequences", "unroll"),
    [
        (False, False, True, False),
        (True, False, False, False),
        (True, False, True, True),
        rare(True, True, True, False),
        rare(False, True, False, True),
    ],
)
def test_options(float64, rng, mask, backwards, zeros, sequences, unroll):
    cell, inputs, states = mixing(rng)
    layer = kcells.RNN(
        cell,
        tbptt=2,
        return_state=True,
        return_sequences=sequences,
        go_backwards=backwards,
        zero_output_for_mask=zeros,
        unroll=unroll,
    )
    ours = call(layer, inputs, states, mask=MASKS[mask], training=True)
    # A last output that is masked: zero if so asked, else the last valid one.
    expected = in_pieces(cell, inputs, states, MASKS[mask], 2, backwards, zeros, sequences)
    assert_same(ours, expected)


@pytest.mark.parametrize("steps", [TIME, rare(TIME + 1), rare(100)])
@pytest.mark.parametrize("mask", ["none", rare("holes")])
def test_more_steps_than_there_are(float64, rng, mask, steps):
    cell, inputs, states = mixing(rng)
    given = {"mask": MASKS[mask], "training": True}
    ours, theirs = (
        call(kcells.RNN(cell, tbptt=t, return_sequences=True), inputs, states, **given)
        for t in (steps, None)
    )
    assert_same(ours, theirs)


def test_one_step_fewer_than_there_are(float64, rng):
    """The cut is where it is said, not one step later."""
    cell, inputs, states = mixing(rng)
    first = [call(kcells.RNN(cell, tbptt=t), inputs, states)[1] for t in (TIME - 1, TIME)]
    of_states = [np.abs(g[-1]).max() for g in first]
    assert of_states[0] == 0.0 < of_states[1]


@pytest.mark.parametrize("way", MORE_WAYS)
@pytest.mark.parametrize("checkpoint", [2, rare(True), rare(100)])
@pytest.mark.parametrize("mask", ["holes", rare("none")])
def test_with_checkpoints(float64, rng, mask, checkpoint, way):
    cell, inputs, states = mixing(rng)
    layer = kcells.RNN(
        cell,
        tbptt=3,
        checkpoint=checkpoint,
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
    )
    ours = call(layer, inputs, states, way, mask=MASKS[mask], training=True)
    assert_same(ours, in_pieces(cell, inputs, states, MASKS[mask], 3))


def test_values_are_the_same_and_the_gradient_of_a_masked_row_is_that_of_the_row_packed(
    float64, rng
):
    cell, inputs, states = mixing(rng)
    valid = np.array([1, 0, 1, 1, 0, 0, 1], bool)
    first = [tree.map_structure(lambda x: x[:1], part) for part in (inputs, states)]
    packed = tree.map_structure(lambda x: x[:, valid], first[0])
    layer = kcells.RNN(cell, tbptt=2, return_state=True)
    results, found = call(layer, *first, mask=valid[None], training=True)
    others, wanted = call(layer, packed, first[1], training=True)
    assert_same((results, found[:5] + found[-2:]), (others, wanted[:5] + wanted[-2:]))
    for got, want in zip(found[5:7], wanted[5:7], strict=True):
        np.testing.assert_allclose(got[:, valid], want, rtol=1e-10, atol=1e-12)
        assert not got[:, ~valid].any()


def test_a_linear_cell_runs_in_the_loop(float64, rng):
    cell = Gated()
    x = rng.normal(size=(BATCH, TIME, 3))
    states = [rng.normal(size=(BATCH, 4))]
    layer = kcells.RNN(
        cell, tbptt=2, return_sequences=True, return_state=True, zero_output_for_mask=True
    )
    assert layer._plan.path == "loop"
    ours = call(layer, x, states, mask=MASKS["holes"])
    assert_same(ours, in_pieces(cell, x, states, MASKS["holes"], 2))
    reasons = {r.condition: r for r in kcells.explain(layer).reasons if not r.holds}
    assert reasons["the gradient goes back through all steps"].detail == "tbptt=2"


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_kept_from_the_kernel(float64, rng, name):
    layer = kcells.build(name, 3, tbptt=2, return_sequences=True, return_state=True)
    explained = kcells.explain(layer)
    assert explained.path == "loop"
    reasons = {r.condition: r for r in explained.reasons if not r.holds}
    assert reasons["the gradient goes back through all steps"].detail == "tbptt=2"
    x = rng.normal(size=(BATCH, TIME, 2))
    states = [rng.normal(size=(BATCH, 3)) for _ in range(1 + (name == "lstm"))]
    ours = call(layer, x, states)
    assert_same(ours, in_pieces(layer.cell, x, states, None, 2))
    with pytest.raises(kcells.errors.DispatchError, match="tbptt=2"):
        kcells.build(name, 3, tbptt=2, dispatch="require")


@pytest.mark.skipif("eager" not in WAYS, reason="about TensorFlow")
@pytest.mark.parametrize("compile", ["auto", "never"])
def test_unknown_length(float64, rng, compile):
    import tensorflow as tf

    cell = keras.layers.GRUCell(3)
    layer = kcells.RNN(cell, tbptt=2, return_sequences=True, return_state=True, compile=compile)
    x = rng.normal(size=(BATCH, TIME, 2))
    layer.build((None, None, 2))
    ours = call(layer, x, signature=[tf.TensorSpec((None, None, 2), "float64")], training=True)
    states = [np.zeros((BATCH, 3))]
    results, found = in_pieces(cell, x, states, None, 2)
    assert_same(ours, (results, found[:-1]))


def test_dropout(float64, rng):
    """The masks are of the whole sequence, not of a piece."""
    x = rng.normal(size=(BATCH, TIME, 2))
    results = []
    for options in ({"tbptt": 2}, {"tbptt": 2, "checkpoint": 3}, {}):
        keras.utils.set_random_seed(1)
        cell = keras.layers.LSTMCell(3, dropout=0.4, recurrent_dropout=0.3, seed=5)
        layer = kcells.RNN(cell, return_sequences=True, **options)
        layer.build(x.shape)
        results.append(call(layer, x, mask=MASKS["holes"], training=True))
    assert_same(results[0], results[1])
    assert_same((results[0][0], results[0][0]), (results[2][0], results[2][0]))
