"""The convolutional cells: against NumPy, Keras and Keras 2, in limits, and in structures."""

import functools
import re

import convolutional_reference as reference
import keras
import numpy as np
import pytest
from classic_cells import BATCH, MASK, TIME, as_numpy, assert_near

import kcells
from kcells.errors import ConfigurationError, StructureError

CELLS = ["conv_lstm", "conv_gru"]


def make_layer(cell, rng, step, dtype="float32", **arguments):
    """A layer with random weights, for frames of the shape `step`."""
    made = kcells.cell(cell, **{"filters": 2, "kernel_size": 2, "dtype": dtype, **arguments})
    layer = kcells.RNN(made, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, *step))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def built(cell, step=(4, 4, 3), **arguments):
    made = kcells.cell(cell, **{"filters": 2, "kernel_size": 3, **arguments})
    made.build((None, *step))
    return made


def make_inputs(rng, step):
    return rng.normal(size=(BATCH, TIME, *step)).astype("float32")


# -- The numbers

FIRST = {"data_format": "channels_first"}
# The shape of a frame, and the arguments of the cell.
CASES = [
    ((4, 2), {}),
    ((5, 1), {"strides": 2, "kernel_size": 3}),
    ((4, 1), {"padding": "same", "dilation_rate": 2, "use_bias": False}),
    ((3, 2, 1), {"kernel_size": (2, 1)}),
    ((3, 3, 1), {"padding": "same", "strides": (2, 1), "activation": "sigmoid"}),
    ((1, 2, 3), {"padding": "same", "kernel_size": (3, 2), **FIRST}),
    ((2, 2, 1, 1), {"padding": "same"}),
    ((1, 3, 2, 2), {"kernel_size": (2, 1, 2), **FIRST}),
]
OF_EACH = [
    *(("conv_lstm", *case) for case in CASES),
    *(("conv_gru", *case) for case in CASES[1::2]),
    ("conv_lstm", (3, 2), {"peepholes": True}),
    ("conv_lstm", (1, 2, 3), {"padding": "same", "peepholes": True, **FIRST}),
]


def named(case):
    return f"{case[0]} {case[1]} {case[2]}"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("cell", "step", "arguments"),
    OF_EACH,
    ids=map(named, OF_EACH),
)
def test_outputs_states_and_gradients(cell, step, arguments, rng, compare):
    layer = make_layer(cell, rng, step, "float64", **arguments)
    how = {"strides": arguments.get("strides", 1), "padding": arguments.get("padding", "valid")}
    how["dilation"] = arguments.get("dilation_rate", 1)
    if "activation" in arguments:
        how["activation"] = reference.sigmoid
    first = "data_format" in arguments
    program = functools.partial(reference.run, cell, how, MASK, first)
    compare(layer, rng.normal(size=(BATCH, TIME, *step)), program, MASK)


# -- Keras

OF_KERAS = [
    (1, {"strides": 2, "recurrent_activation": "hard_sigmoid"}),
    (2, {"padding": "same", "kernel_size": (3, 2)}),
    (2, {"dilation_rate": (1, 2), "use_bias": False, "activation": "relu"}),
    (2, {"strides": (2, 1), "padding": "same"}),
    (3, {"padding": "same"}),
]


def of_keras(rank, arguments, module=keras, **more):
    """The layer of Keras."""
    made = getattr(module.layers, f"ConvLSTM{rank}D")
    options = {"filters": 2, "kernel_size": 2, **arguments, **more}
    return made(return_sequences=True, return_state=True, **options)


@pytest.mark.parametrize(
    ("rank", "arguments", "masked"),
    [*((*case, False) for case in OF_KERAS), *((*case, True) for case in OF_KERAS[:2])],
    ids=str,
)
def test_the_layer_of_keras(rank, arguments, masked, rng, gradients):
    """The same outputs, states and gradients, from states of our own and under a mask."""
    if masked and keras.backend.backend() == "jax":
        pytest.skip("on JAX, Keras has no masks for states that are frames")
    step = (*(5, 4, 3)[:rank], 2)
    layer, theirs = make_layer("conv_lstm", rng, step, **arguments), of_keras(rank, arguments)
    sequences = make_inputs(rng, step)
    states = [rng.normal(size=(BATCH, *layer.cell.frame)).astype("float32") for _ in range(2)]
    theirs.build(sequences.shape)
    theirs.set_weights(layer.get_weights())
    mask = keras.ops.convert_to_tensor(MASK) if masked else None
    results = [one(sequences, initial_state=states, mask=mask) for one in (layer, theirs)]
    assert_near(*results)
    factors = [
        keras.ops.convert_to_tensor(rng.normal(size=result.shape).astype("float32"))
        for result in results[0]
    ]

    def loss(one, leaves):
        found = one(leaves[0], initial_state=leaves[1:], mask=mask)
        return sum(keras.ops.sum(f * r) for f, r in zip(factors, found, strict=True))

    arrays = [sequences, *states]
    of_each = [
        gradients(functools.partial(loss, one), one.trainable_variables, arrays)
        for one in (layer, theirs)
    ]
    for ours, expected in zip(*of_each, strict=True):
        assert_near(ours, expected, 1e-4)


@pytest.mark.parametrize(("rank", "arguments"), OF_KERAS, ids=str)
def test_the_layer_of_keras_2(rank, arguments, rng):
    """Which is a program of its own, and has the same weights."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf_keras is TensorFlow's")
    tf_keras = pytest.importorskip("tf_keras")
    step = (*(5, 4, 3)[:rank], 2)
    given = {"recurrent_activation": "sigmoid", **arguments}
    if given["recurrent_activation"] == "hard_sigmoid":
        pytest.skip("Keras 2 has another hard sigmoid")
    layer, theirs = make_layer("conv_lstm", rng, step, **given), of_keras(rank, given, tf_keras)
    sequences = make_inputs(rng, step)
    theirs.build(sequences.shape)
    theirs.set_weights(layer.get_weights())
    assert_near(layer(sequences, mask=MASK), theirs(sequences, mask=MASK))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("cell", CELLS)
def test_in_the_rnn_layer_of_keras(cell, rng):
    """As far as the docstring says: once it is built, and outside of functional models."""
    layer, sequences = make_layer(cell, rng, (4, 3, 1)), make_inputs(rng, (4, 3, 1))
    theirs = keras.layers.RNN(layer.cell, return_sequences=True, return_state=True)
    assert_near(layer(sequences), theirs(sequences))
    with pytest.raises(ValueError, match="output_size must be an integer"):
        theirs(keras.Input((TIME, 4, 3, 1)))
    with pytest.raises(ValueError, match="state_size"):
        keras.layers.RNN(kcells.cell(cell, 2, 2))(sequences)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_channels_may_come_first(cell, rank, rng):
    step = (5, 4, 3)[:rank]
    last = make_layer(cell, rng, (*step, 2))
    first = make_layer(cell, rng, (2, *step), data_format="channels_first")
    first.set_weights(last.get_weights())
    sequences = make_inputs(rng, (*step, 2))
    outputs, *states = last(sequences)
    moved = [np.moveaxis(as_numpy(outputs), -1, 2)]
    moved += [np.moveaxis(as_numpy(state), -1, 1) for state in states]
    assert_near(first(np.moveaxis(sequences, -1, 2)), moved)


def test_how_keras_is_set_counts():
    assert kcells.cell("conv_gru", 2, 3).data_format == "channels_last"
    keras.config.set_image_data_format("channels_first")
    try:
        assert kcells.cell("conv_gru", 2, 3).data_format == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")


# -- Limits


def center(kernel):
    """The entry of a kernel of three by three that meets a frame of one entry."""
    return as_numpy(kernel)[1, 1]


def on_one_entry(cell, rng):
    """A layer on frames of one by one, with a kernel of three by three."""
    return make_layer(cell, rng, (1, 1, 3), kernel_size=3, padding="same")


def test_on_one_entry_it_is_an_lstm(rng):
    layer = on_one_entry("conv_lstm", rng)
    lstm = keras.layers.LSTM(2, return_sequences=True, return_state=True)
    sequences = make_inputs(rng, (1, 1, 3))
    flat = sequences[:, :, 0, 0]
    lstm.build(flat.shape)
    kernel, recurrent_kernel, bias = layer.weights
    lstm.set_weights([center(kernel), center(recurrent_kernel), as_numpy(bias)])
    found = [keras.ops.squeeze(result, (-3, -2)) for result in layer(sequences)]
    assert_near(found, lstm(flat))


def test_on_one_entry_it_is_a_gru(rng):
    """Whose update gate says what is kept: that of the paper, with the sign turned."""
    layer = on_one_entry("conv_gru", rng)
    gru = keras.layers.GRU(2, reset_after=False, return_sequences=True, return_state=True)
    sequences = make_inputs(rng, (1, 1, 3))
    flat = sequences[:, :, 0, 0]
    gru.build(flat.shape)
    kernel, recurrent_kernel, bias = layer.weights
    weights = [center(kernel), center(recurrent_kernel), as_numpy(bias)]
    gru.set_weights([weight * [-1, -1, 1, 1, 1, 1] for weight in weights])
    found = [keras.ops.squeeze(result, (-3, -2)) for result in layer(sequences)]
    assert_near(found, gru(flat))


@pytest.mark.parametrize("cell", CELLS)
def test_a_kernel_of_one_sees_one_entry(cell, rng):
    layer, sequences = make_layer(cell, rng, (4, 3, 1), kernel_size=1), make_inputs(rng, (4, 3, 1))
    other = sequences.copy()
    other[:, :, 2, 1] += 1.0
    moved = np.abs(as_numpy(layer(sequences)[0]) - as_numpy(layer(other)[0])).max((0, 1, -1))
    assert moved[2, 1] > 0.01
    moved[2, 1] = 0.0
    assert moved.max() < 1e-6


def test_peepholes_of_zeros_are_none(rng):
    with_, without = (make_layer("conv_lstm", rng, (4, 2), peepholes=p) for p in (True, False))
    for weight, other in zip(with_.weights, without.weights, strict=False):
        weight.assign(other)
    with_.cell.peephole_kernel.assign(np.zeros((3, 3, 2)))
    sequences = make_inputs(rng, (4, 2))
    assert_near(with_(sequences), without(sequences))


# -- Within others


@pytest.mark.parametrize("cell", CELLS)
def test_a_frame_is_a_leaf_of_a_structure(cell, rng):
    """A camera and a sensor, side by side in one loop."""
    pytest.importorskip("kcells_plugin_nested")
    cells = {"camera": kcells.cell(cell, 4, 3, padding="same"), "sensor": kcells.cell("gru", 5)}
    layer = kcells.build("parallel", cells, return_sequences=True, return_state=True)
    inputs = {"camera": make_inputs(rng, (6, 6, 3)), "sensor": make_inputs(rng, (2,))}
    outputs, states = layer(inputs, mask=MASK)
    shapes = {key: tuple(value.shape) for key, value in outputs.items()}
    assert shapes == {"camera": (BATCH, TIME, 6, 6, 4), "sensor": (BATCH, TIME, 5)}
    alone = kcells.RNN(cells["camera"], return_sequences=True, return_state=True)
    expected = alone(inputs["camera"], mask=MASK)
    assert_near([outputs["camera"], *keras.tree.flatten(states["camera"])], expected)


def test_a_stack_of_frames(rng):
    """The sizes are known cell by cell, once the stack is built."""
    cells = [kcells.cell("conv_lstm", 3, 3, strides=2), kcells.cell("conv_gru", 2, 2)]
    layer = kcells.RNN(cells, return_sequences=True)
    assert layer.cell.state_size is None
    sequences = make_inputs(rng, (9, 8, 1))
    outputs = layer(sequences)
    assert layer.cell.state_size == [[(4, 3, 3), (4, 3, 3)], [(3, 2, 2)]]
    below = kcells.RNN(cells[0], return_sequences=True)(sequences)
    assert_near([outputs], [kcells.RNN(cells[1], return_sequences=True)(below)])


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions(cell, rng):
    layer = kcells.Bidirectional(kcells.build(cell, 2, 3), merge_mode="concat")
    assert tuple(layer(make_inputs(rng, (5, 5, 1))).shape) == (BATCH, 3, 3, 4)


@pytest.mark.parametrize("cell", CELLS)
def test_whole_numbers_are_frames_too(cell, rng):
    layer = make_layer(cell, rng, (4, 2))
    pixels = rng.integers(0, 9, size=(BATCH, TIME, 4, 2)).astype("uint8")
    assert_near(layer(pixels), layer(pixels.astype("float32")))


def test_a_model_of_frames_learns(rng):
    model = keras.Sequential(
        [
            keras.Input((None, 6, 6, 1)),
            kcells.build("conv_lstm", 3, 3, return_sequences=True),
            kcells.build("conv_gru", 2, 2),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    history = model.fit(
        make_inputs(rng, (6, 6, 1)), np.ones((BATCH, 1)), epochs=12, verbose=0
    ).history["loss"]
    assert history[-1] < history[0]


# -- How weights start, and what they are asked


def test_the_forget_gate_starts_open():
    bias = as_numpy(built("conv_lstm", bias_initializer="zeros").bias)
    np.testing.assert_array_equal(bias, [0, 0, 1, 1, 0, 0, 0, 0])
    given = as_numpy(built("conv_lstm", bias_initializer="random_normal").bias)
    np.testing.assert_array_equal(given[2:4], [1, 1])
    assert len(set(given)) == 7
    assert not as_numpy(built("conv_lstm", unit_forget_bias=False).bias).any()
    assert not as_numpy(built("conv_gru").bias).any()


@pytest.mark.parametrize("cell", CELLS)
def test_biases_without_an_initializer_are_zeros(cell):
    bias, expected = (built(cell, bias_initializer=given).bias for given in (None, "zeros"))
    np.testing.assert_array_equal(as_numpy(bias), as_numpy(expected))


@pytest.mark.parametrize("cell", CELLS)
def test_other_weights_start_as_in_keras(cell):
    made = built(cell, filters=8)
    # Glorot's limit, from how many numbers of a frame a number goes to and comes from.
    limit = np.sqrt(6.0 / (9 * (made.kernel.shape[-1] + 3)))
    assert 0.95 * limit < np.abs(as_numpy(made.kernel)).max() <= limit
    rows = as_numpy(made.recurrent_kernel).reshape(-1, made.recurrent_kernel.shape[-1])
    np.testing.assert_allclose(rows.T @ rows, np.eye(rows.shape[1]), atol=1e-5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
def test_dropout_of_inputs_and_state(cell, argument, rng):
    layer = make_layer(cell, rng, (4, 4, 3), **{argument: 0.5, "seed": 3})
    sequences = make_inputs(rng, (4, 4, 3))
    quiet, noisy = (as_numpy(layer(sequences, training=flag)[0]) for flag in (False, True))
    assert np.abs(quiet - noisy).max() > 1e-3


# -- What is refused

REFUSED = [
    ({"filters": 0}, "filters must be a positive int; received 0"),
    ({"filters": 2.5}, r"filters must be a positive int; received 2\.5"),
    ({"kernel_size": 0}, "kernel_size must be a positive int, or a tuple of these; received 0"),
    ({"kernel_size": ()}, r"kernel_size must be a positive int, or a tuple of these; received \("),
    ({"strides": (1, -1)}, r"strides must be a positive int, or a tuple .* received \(1, -1\)"),
    ({"dilation_rate": True}, "dilation_rate must be a positive int, or a tuple .* received True"),
    ({"strides": 2, "dilation_rate": 2}, "received strides=2, dilation_rate=2"),
    ({"padding": "causal"}, 'padding must be "valid" or "same"; received \'causal\''),
    ({"data_format": "first"}, 'must be "channels_last" or "channels_first"; received \'first\''),
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_arguments_out_of_range(cell, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        kcells.cell(cell, **{"filters": 2, "kernel_size": 3, **arguments})


@pytest.mark.parametrize("cell", CELLS)
def test_a_kernel_has_no_size_of_its_own(cell):
    with pytest.raises(TypeError, match=r"missing .* 'kernel_size'"):
        kcells.cell(cell, 2)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "shape", [(None, 3), (None, 2, 2, 2, 2, 2), (None, None, 4, 3), {"a": (None, 4, 3)}]
)
def test_inputs_must_be_frames(cell, shape):
    made = kcells.cell(cell, 2, 3)
    with pytest.raises(StructureError, match=r"one tensor of \(batch, \*space, channels\), with"):
        made.build(shape)
    with pytest.raises(StructureError, match=r"one tensor of \(batch, channels, \*space\), with"):
        kcells.cell(cell, 2, 3, data_format="channels_first").build(shape)


@pytest.mark.parametrize("cell", CELLS)
def test_frames_must_fit_the_kernel(cell):
    with pytest.raises(StructureError, match=r"frames of \(4, 2\), with kernel_size=3, dilation_r"):
        built(cell, step=(4, 2, 1))
    with pytest.raises(StructureError, match=r"kernel_size=\(3, 2\) is for frames with 2 axes"):
        built(cell, step=(4, 1), kernel_size=(3, 2))
    with pytest.raises(StructureError, match=r"strides=\(1, 1, 1\) .* received frames with 2"):
        built(cell, strides=(1, 1, 1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("step", [(1, 1, 1), (4, 1, 1), (4, 5, 1), (4, 4, 2)], ids=str)
def test_frames_must_be_those_of_before(cell, step, rng):
    layer = make_layer(cell, rng, (4, 4, 1), padding="same")
    message = rf"frames of {re.escape(str(step))}, but the cell was built for \(4, 4, 1\)\.\n  Resi"
    with pytest.raises(StructureError, match=message):
        layer(make_inputs(rng, step))
    with pytest.raises(StructureError, match=message):
        layer.cell(make_inputs(rng, step)[:, 0], layer.cell.get_initial_state(BATCH))


def test_sizes_that_are_not_known_may_be_right(rng):
    """Those that a function of TensorFlow leaves open."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has them")
    import tensorflow as tf

    layer, frames = make_layer("conv_lstm", rng, (4, 4, 1)), make_inputs(rng, (4, 4, 1))[:, 0]
    states = layer.cell.get_initial_state(BATCH)
    call = tf.function(
        lambda frames: layer.cell(frames, states),
        input_signature=[tf.TensorSpec((BATCH, None, None, 1))],
    )
    (found, _), (expected, _) = call(frames), layer.cell(frames, states)
    assert_near([found], [expected])


@pytest.mark.parametrize("cell", CELLS)
def test_the_sizes_of_states_are_not_for_setting(cell):
    made = kcells.cell(cell, 2, 3)
    assert made.state_size is None
    with pytest.raises(AttributeError, match="follows from its inputs"):
        made.state_size = 3
