"""The block cells against the operations of TensorFlow that they are named after."""

import keras
import numpy as np
import pytest
from classic_cells import BATCH, FEATURES, TIME, UNITS, assert_near, make_layer

if keras.backend.backend() != "tensorflow":
    pytest.skip("operations of TensorFlow", allow_module_level=True)

import tensorflow as tf

BOUNDS = {None: -1.0, 0.5: 0.5}  # For them, a negative bound is none.
LSTMS = [(peepholes, bound) for peepholes in (False, True) for bound in BOUNDS]


def draw(rng, *shape):
    return tf.constant(rng.normal(size=shape).astype("float32"))


def stacked(cell):
    """Their matrix: the kernel above the recurrent kernel, in the cell's order."""
    return tf.concat([cell.kernel, cell.recurrent_kernel], axis=0)


def peepholes_of(cell):
    rows = tf.zeros((3, UNITS)) if cell.peephole_kernel is None else cell.peephole_kernel
    return dict(zip(("wci", "wcf", "wco"), tf.unstack(tf.convert_to_tensor(rows)), strict=True))


def lstm_step(cell, x, h, c):
    """All that their operation gives for one step."""
    options = {"forget_bias": cell.forget_bias, "cell_clip": BOUNDS[cell.cell_clip]}
    weights = {"w": stacked(cell), "b": cell.bias, **peepholes_of(cell)}
    return tf.raw_ops.LSTMBlockCell(
        x=x, cs_prev=c, h_prev=h, use_peephole=cell.peepholes, **options, **weights
    )


def gru_arguments(cell):
    matrix, gates = stacked(cell), 2 * UNITS
    matrices = {"w_ru": matrix[:, :gates], "w_c": matrix[:, gates:]}
    return {**matrices, "b_ru": cell.bias[:gates], "b_c": cell.bias[gates:]}


# -- One step after the other


@pytest.mark.parametrize(("peepholes", "bound"), LSTMS)
def test_lstm_block_cell(peepholes, bound, rng):
    layer = make_layer("lstm_block", rng, peepholes=peepholes, cell_clip=bound, forget_bias=0.3)
    sequences = draw(rng, BATCH, TIME, FEATURES)
    h, c = draw(rng, BATCH, UNITS), draw(rng, BATCH, UNITS)
    found, outputs = layer(sequences, initial_state=[h, c]), []
    for x in tf.unstack(sequences, axis=1):
        result = lstm_step(layer.cell, x, h, c)
        h, c = result.h, result.cs
        outputs.append(h)
    assert_near(found, [tf.stack(outputs, axis=1), h, c])


def test_gru_block_cell(rng):
    layer = make_layer("gru_block", rng)
    sequences, h = draw(rng, BATCH, TIME, FEATURES), draw(rng, BATCH, UNITS)
    found, outputs = layer(sequences, initial_state=h), []
    for x in tf.unstack(sequences, axis=1):
        h = tf.raw_ops.GRUBlockCell(x=x, h_prev=h, **gru_arguments(layer.cell)).h
        outputs.append(h)
    assert_near(found, [tf.stack(outputs, axis=1), h])


# -- All steps at once, and their gradients


def block_lstm(cell, sequences, h, c):
    """Their operation for sequences, in their order of blocks."""
    result = tf.raw_ops.BlockLSTM(
        w=stacked(cell),
        b=cell.bias,
        forget_bias=cell.forget_bias,
        **of_sequences(cell, sequences, h, c),
    )
    return tf.transpose(result.h, (1, 0, 2)), result.h[-1], result.cs[-1]


def block_lstm_v2(cell, sequences, h, c):
    """The later one: the blocks i, f, g, o, and no constant."""
    i, g, f, o = tf.split(tf.concat([stacked(cell), cell.bias[None]], axis=0), 4, axis=1)
    weights = tf.concat([i, f, g, o], axis=1)
    constant = cell.forget_bias * np.repeat([0.0, 1.0, 0.0, 0.0], UNITS).astype("float32")
    result = tf.raw_ops.BlockLSTMV2(
        w=weights[:-1], b=weights[-1] + constant, **of_sequences(cell, sequences, h, c)
    )
    return tf.transpose(result.h, (1, 0, 2)), result.h[-1], result.cs[-1]


def of_sequences(cell, sequences, h, c):
    return {
        "seq_len_max": tf.constant(TIME, tf.int64),
        "x": tf.transpose(sequences, (1, 0, 2)),
        "h_prev": h,
        "cs_prev": c,
        "cell_clip": BOUNDS[cell.cell_clip],
        "use_peephole": cell.peepholes,
        **peepholes_of(cell),
    }


@pytest.mark.parametrize("program", [block_lstm, block_lstm_v2])
@pytest.mark.parametrize(("peepholes", "bound"), LSTMS)
def test_the_operations_for_sequences(program, peepholes, bound, rng):
    layer = make_layer("lstm_block", rng, peepholes=peepholes, cell_clip=bound, forget_bias=0.3)
    given = [draw(rng, BATCH, TIME, FEATURES), draw(rng, BATCH, UNITS), draw(rng, BATCH, UNITS)]
    assert_near(layer(given[0], initial_state=given[1:]), program(layer.cell, *given))


@pytest.mark.parametrize("peepholes", [False, True])
def test_gradients_of_block_lstm(peepholes, rng):
    """Without a bound, beyond which theirs go on; and not of the later operation.

    Finite differences do not agree with those of the later one on a CPU (TensorFlow 2.21),
    which has them in the order of the first.
    """
    layer = make_layer("lstm_block", rng, peepholes=peepholes, forget_bias=0.3)
    given = [draw(rng, BATCH, TIME, FEATURES), draw(rng, BATCH, UNITS), draw(rng, BATCH, UNITS)]
    factors = [draw(rng, BATCH, TIME, UNITS), draw(rng, BATCH, UNITS), draw(rng, BATCH, UNITS)]
    sources = [*given, *(weight.value for weight in layer.weights)]

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(given)
            pairs = zip(function(), factors, strict=True)
            loss = sum(tf.reduce_sum(result * factor) for result, factor in pairs)
        return tape.gradient(loss, sources)

    found = gradients(lambda: layer(given[0], initial_state=given[1:]))
    assert_near(found, gradients(lambda: block_lstm(layer.cell, *given)))


# -- The gradients of one step, which their cells take from operations of their own


@pytest.mark.parametrize("peepholes", [False, True])
def test_gradients_of_lstm_block_cell(peepholes, rng):
    cell = make_layer("lstm_block", rng, peepholes=peepholes, forget_bias=0.3).cell
    x, h, c, h_grad, cs_grad = (
        draw(rng, BATCH, FEATURES),
        *(draw(rng, BATCH, UNITS) for _ in "1234"),
    )
    projected = cell.project_inputs(x)
    with tf.GradientTape() as tape:
        tape.watch([c, projected])
        _, (new_h, new_c) = cell.step(projected, [h, c])
        loss = tf.reduce_sum(new_h * h_grad + new_c * cs_grad)
    peephole_kernel = [cell.peephole_kernel.value] if peepholes else []
    found = tape.gradient(loss, [c, projected, *peephole_kernel])
    result = lstm_step(cell, x, h, c)._asdict()
    del result["h"]
    weights = {"w": stacked(cell), "b": cell.bias, **peepholes_of(cell)}
    given = {"x": x, "cs_prev": c, "h_prev": h, "cs_grad": cs_grad, "h_grad": h_grad}
    theirs = tf.raw_ops.LSTMBlockCellGrad(use_peephole=peepholes, **given, **weights, **result)
    rows = [tf.stack([theirs.wci_grad, theirs.wcf_grad, theirs.wco_grad])] if peepholes else []
    assert_near(found, [theirs.cs_prev_grad, theirs.dicfo, *rows])


def test_gradients_of_gru_block_cell(rng):
    cell = make_layer("gru_block", rng).cell
    x, h, d_h = draw(rng, BATCH, FEATURES), draw(rng, BATCH, UNITS), draw(rng, BATCH, UNITS)
    with tf.GradientTape() as tape:
        tape.watch([x, h])
        projected = cell.project_inputs(x)
        tape.watch(projected)
        new_h, _ = cell.step(projected, [h])
        loss = tf.reduce_sum(new_h * d_h)
    found = tape.gradient(loss, [x, h, projected])
    arguments = {"x": x, "h_prev": h, **gru_arguments(cell)}
    r, u, c, _ = tf.raw_ops.GRUBlockCell(**arguments)
    theirs = tf.raw_ops.GRUBlockCellGrad(r=r, u=u, c=c, d_h=d_h, **arguments)
    of_gates = tf.concat([theirs.d_r_bar_u_bar, theirs.d_c_bar], axis=1)
    assert_near(found, [theirs.d_x, theirs.d_h_prev, of_gates])
