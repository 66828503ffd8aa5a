"""The cells that scan frequencies: a NumPy loop, limits, what blocks see, what is refused."""

import functools

import contrib_reference
import frequency_reference as reference
import keras
import numpy as np
import pytest
from classic_cells import BATCH, MASK, TIME, as_numpy, assert_near

import kcells
from kcells.errors import CellError, ConfigurationError, StructureError
from kcells_plugin_classic._frequency import FrequencyCell

CELLS = ["time_freq_lstm", "grid_lstm", "bidirectional_grid_lstm"]
FEATURES, UNITS = 6, 2

BLOCKS = {"feature_size": 3, "frequency_skip": 2}  # Two, and a feature that is left over.
BANDS = {"feature_size": 2, "bands": ((0, 3), (2, 5))}  # Two blocks each.
ONE_AND_TWO = {"feature_size": 2, "bands": ((4, 6), (0, 3))}
SHARED = {"share_time_frequency_weights": True}
COUPLED = {"couple_input_forget_gates": True}
PEEPHOLES = {"peepholes": True, "forget_bias": -0.5}
CASES = [
    ("time_freq_lstm", {**BLOCKS, "cell_clip": 0.6}),
    ("time_freq_lstm", {**ONE_AND_TWO, "peepholes": False}),
    ("time_freq_lstm", {"forget_bias": -0.5}),
    ("grid_lstm", {**BLOCKS, "cell_clip": 0.6}),
    ("grid_lstm", {**BLOCKS, **PEEPHOLES}),
    ("grid_lstm", {**BLOCKS, **SHARED}),
    ("grid_lstm", {**BLOCKS, **SHARED, **COUPLED, **PEEPHOLES}),
    ("grid_lstm", {**ONE_AND_TWO, **COUPLED, **PEEPHOLES}),
    ("bidirectional_grid_lstm", {**ONE_AND_TWO, **PEEPHOLES, "backward_slice_offset": 1}),
    ("bidirectional_grid_lstm", {**BLOCKS, **COUPLED, "backward_slice_offset": -2}),
    *((cell, {**BLOCKS, "use_bias": False}) for cell in CELLS),
]


def named(case):
    return " ".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


def make_layer(cell, rng, dtype="float32", features=FEATURES, **options):
    """A layer of this cell with random weights."""
    made = kcells.cell(cell, UNITS, dtype=dtype, **options)
    layer = kcells.RNN(made, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, features))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def inputs(rng, dtype="float32", features=FEATURES):
    return rng.normal(size=(BATCH, TIME, features)).astype(dtype)


def built(cell, **arguments):
    made = kcells.cell(cell, UNITS, **{**BLOCKS, **arguments})
    made.build((None, FEATURES))
    return made


def weights_of(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


def assign(layer, values):
    for weight in layer.weights:
        weight.assign(values[weight.name])


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES, ids=named)
def test_outputs_states_and_gradients(case, rng, compare):
    cell, arguments = case
    layer = make_layer(cell, rng, "float64", **arguments)
    known = {k: v for k, v in arguments.items() if k not in ("peepholes", "use_bias")}
    step = functools.partial(getattr(reference, cell), **known)
    program = functools.partial(contrib_reference.run, step, MASK)
    compare(layer, inputs(rng, "float64"), program, MASK)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("cell", CELLS)
def test_in_the_rnn_layer_of_keras(cell, rng):
    layer, sequences = make_layer(cell, rng, **BLOCKS), inputs(rng)
    theirs = keras.layers.RNN(layer.cell, return_sequences=True)(sequences)
    np.testing.assert_allclose(as_numpy(layer(sequences)[0]), as_numpy(theirs), atol=1e-5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_inputs_and_states(cell, argument, rng):
    """Each changes a sequence, in training alone."""
    made = kcells.cell(cell, 8, seed=3, **BLOCKS, **{argument: 0.5})
    layer, sequences = kcells.RNN(made), inputs(rng)
    quiet, noisy = (as_numpy(layer(sequences, training=flag)) for flag in (False, True))
    assert np.abs(quiet - noisy).max() > 1e-3


# -- Limits


@pytest.mark.parametrize("peepholes", [False, True])
def test_one_block_is_an_lstm(peepholes, rng):
    """Nothing is below it."""
    layer = make_layer("time_freq_lstm", rng, peepholes=peepholes)
    lstm = kcells.cell("lstmp", UNITS, peepholes=peepholes, forget_bias=1.0)
    lstm = kcells.RNN(lstm, return_sequences=True, return_state=True)
    lstm.build((BATCH, TIME, FEATURES))
    assign(lstm, weights_of(layer))
    sequences = inputs(rng)
    found, (expected, *states) = layer(sequences), lstm(sequences)
    assert_near([found[0], *(state[:, 0] for state in found[1:])], [expected, *states])


def test_time_alone_is_an_lstm_for_each_block(rng):
    """Without a way from block to block, all see their own features with the same weights."""
    layer, sequences = make_layer("time_freq_lstm", rng, **BLOCKS), inputs(rng)
    layer.cell.scans[0].frequency_kernel.assign(np.zeros((UNITS, 4 * UNITS)))
    lstm = kcells.RNN(kcells.cell("lstmp", UNITS, forget_bias=1.0), return_sequences=True)
    lstm.build((BATCH, TIME, 3))
    assign(lstm, weights_of(layer))
    expected = [as_numpy(lstm(sequences[..., low : low + 3])) for low in (0, 2)]
    np.testing.assert_allclose(
        as_numpy(layer(sequences)[0]), np.concatenate(expected, -1), atol=1e-5
    )


def test_frequency_alone_is_an_lstm_over_the_blocks(rng):
    """In the first step of a grid, where time has nothing to say: an LSTM of Keras."""
    layer = make_layer("grid_lstm", rng, feature_size=2, frequency_skip=1)
    w = weights_of(layer)
    half, constant = slice(4 * UNITS, None), np.repeat([0.0, 1.0, 0.0, 0.0], UNITS)
    lstm = keras.layers.LSTM(UNITS, return_sequences=True)
    lstm.build((BATCH, 5, 2))
    lstm.set_weights(
        [w["kernel"][:, half], w["frequency_kernel"][:, half], w["bias"][half] + constant]
    )
    frame = inputs(rng)[:, :1]
    blocks = np.stack([frame[:, 0, low : low + 2] for low in range(5)], axis=1)
    found = as_numpy(layer(frame)[0]).reshape(BATCH, 5, 2, UNITS)
    np.testing.assert_allclose(found[:, :, 1], as_numpy(lstm(blocks)), atol=1e-5)


def test_shared_weights_are_the_same_twice(rng):
    options = {**BLOCKS, "peepholes": True}
    shared, both = (make_layer("grid_lstm", rng, **options, **more) for more in (SHARED, {}))
    values = {
        name: np.concatenate([value] * 2, axis=0 if name == "peephole_kernel" else -1)
        for name, value in weights_of(shared).items()
    }
    assign(both, values)
    sequences = inputs(rng)
    assert_near(shared(sequences), both(sequences))


def test_coupled_gates_are_an_input_gate_negated(rng):
    """Of a grid without the constant."""
    coupled = make_layer("grid_lstm", rng, **BLOCKS, **COUPLED)
    plain = make_layer("grid_lstm", rng, **BLOCKS, forget_bias=0.0)

    def uncoupled(value):
        first, second = (np.split(half, 3, axis=-1) for half in np.split(value, 2, axis=-1))
        blocks = [block for i, g, o in (first, second) for block in (i, -i, g, o)]
        return np.concatenate(blocks, axis=-1)

    assign(plain, {name: uncoupled(value) for name, value in weights_of(coupled).items()})
    sequences = inputs(rng)
    assert_near(coupled(sequences), plain(sequences))


def test_both_directions_are_two_grids(rng):
    """The one down sees the features in reverse, where blocks are symmetric."""
    options = {"feature_size": 2, "frequency_skip": 2}
    both, sequences = make_layer("bidirectional_grid_lstm", rng, **options), inputs(rng)
    up, down = (make_layer("grid_lstm", rng, **options) for _ in "12")
    w = weights_of(both)
    assign(up, w)
    w = {
        name: w[f"backward_{name}"]
        for name in ("kernel", "recurrent_kernel", "frequency_kernel", "bias")
    }
    assign(down, {**w, "kernel": w["kernel"][::-1]})
    results = [up(sequences), down(sequences[..., ::-1])]
    expected = [
        np.concatenate([as_numpy(a), as_numpy(b)], axis=axis)
        for axis, a, b in zip((-1, 1, 1), *results, strict=True)
    ]
    assert_near(both(sequences), expected)


def test_an_offset_is_that_of_moved_features(rng):
    plain, moved = (
        make_layer("bidirectional_grid_lstm", rng, **BLOCKS, backward_slice_offset=offset)
        for offset in (0, 2)
    )
    assign(moved, weights_of(plain))
    sequences = inputs(rng)
    later = np.concatenate([sequences[..., 2:], np.zeros((BATCH, TIME, 2), "float32")], axis=-1)
    half = 2 * 2 * UNITS
    found = as_numpy(moved(sequences)[0])
    np.testing.assert_allclose(
        found[..., :half], as_numpy(plain(sequences)[0])[..., :half], atol=1e-6
    )
    np.testing.assert_allclose(found[..., half:], as_numpy(plain(later)[0])[..., half:], atol=1e-6)


def test_bands_are_cells_of_their_own(rng):
    layer, sequences = make_layer("grid_lstm", rng, **BANDS), inputs(rng)
    outputs = []
    for number, (start, end) in enumerate(BANDS["bands"]):
        one = make_layer("grid_lstm", rng, features=end - start, feature_size=2)
        values = {k[:-2]: v for k, v in weights_of(layer).items() if k.endswith(f"_{number}")}
        assign(one, values)
        outputs.append(as_numpy(one(sequences[..., start:end])[0]))
    np.testing.assert_allclose(
        as_numpy(layer(sequences)[0]), np.concatenate(outputs, -1), atol=1e-5
    )


def test_a_bound_bounds_both_cells(rng):
    layer = make_layer("grid_lstm", rng, **BLOCKS, cell_clip=0.1)
    outputs, _, c = layer(inputs(rng))
    assert np.isclose(np.abs(as_numpy(c)).max(), 0.1)
    assert np.abs(as_numpy(outputs)).max() < 0.1


# -- What blocks see


@pytest.mark.parametrize(("cell", "of_block"), [("time_freq_lstm", 1), ("grid_lstm", 2)])
def test_a_block_sees_what_is_below_and_no_leftover(cell, of_block, rng):
    layer, sequences = make_layer(cell, rng, **BLOCKS), inputs(rng)

    def moved_by(feature):
        other = sequences.copy()
        other[..., feature] += 1.0
        difference = np.abs(as_numpy(layer(other)[0]) - as_numpy(layer(sequences)[0]))
        return [part.max() > 1e-4 for part in np.split(difference, 2, axis=-1)]

    assert layer.compute_output_shape((BATCH, TIME, FEATURES))[0][-1] == 2 * of_block * UNITS
    assert [moved_by(feature) for feature in (0, 2, 4, 5)] == [
        [True, True],
        [True, True],
        [False, True],
        [False, False],
    ]


# -- Weights


def test_names_and_shapes_of_weights():
    def shapes(cell, **arguments):
        return {weight.name: tuple(weight.shape) for weight in built(cell, **arguments).weights}

    of_one = {
        "kernel": (3, 8),
        "recurrent_kernel": (2, 8),
        "frequency_kernel": (2, 8),
        "bias": (8,),
    }
    assert shapes("time_freq_lstm") == {**of_one, "peephole_kernel": (3, 2)}
    doubled = {name: (*shape[:-1], 16) for name, shape in of_one.items()}
    assert shapes("grid_lstm") == doubled
    back = {f"backward_{name}": shape for name, shape in doubled.items()}
    assert shapes("bidirectional_grid_lstm") == {**doubled, **back}
    peeping = shapes("grid_lstm", **COUPLED, peepholes=True, bands=[(0, 3), (1, 4)])
    assert peeping["peephole_kernel_1"] == (2, 2, 2, 2)
    assert peeping["kernel_0"] == (3, 12)
    assert "frequency_kernel_0" not in peeping  # Of one block, below which there is none.
    assert len(peeping) == 8


@pytest.mark.parametrize("cell", CELLS)
def test_biases_start_at_zero(cell):
    weights = built(cell).weights
    assert not any(np.any(as_numpy(weight)) for weight in weights if "bias" in weight.name)


# -- Arguments


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["units", "feature_size", "frequency_skip"])
@pytest.mark.parametrize("size", [0, 2.5, "8", True])
def test_sizes_must_be_positive_ints(cell, name, size):
    with pytest.raises(ConfigurationError, match=f"Cell: {name} must be a positive int; received"):
        kcells.cell(cell, **{"units": UNITS, name: size})


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "bands",
    [
        *([], [(2, 2)], [(-1, 2)], [(0, 2, 4)], [(0, 2.0)], [(0, True)]),
        *((0, 4), [1, 2], 5, "04", ["04"], [(0, 4), None], {0: 4}),
    ],
    ids=repr,
)
def test_bands_must_be_pairs(cell, bands):
    with pytest.raises(ConfigurationError, match=r"Cell: bands must be None or pairs of ints \(st"):
        kcells.cell(cell, UNITS, bands=bands)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bound", [0.0, -1, "wide", True, float("nan")])
def test_a_bound_must_be_positive(cell, bound):
    with pytest.raises(
        ConfigurationError, match="Cell: cell_clip must be a positive float or None"
    ):
        kcells.cell(cell, UNITS, cell_clip=bound)


@pytest.mark.parametrize("offset", [1.0, None, True, "1"])
def test_an_offset_must_be_an_int(offset):
    with pytest.raises(ConfigurationError, match="backward_slice_offset must be an int; received"):
        kcells.cell("bidirectional_grid_lstm", UNITS, backward_slice_offset=offset)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature_size": 7}, "block has 7 features and the band is from 0 to 6.* have 6 features"),
        ({"bands": [(0, 3), (3, 7)]}, "block has 4 features and the band is from 3 to 7"),
        (
            {"bands": [(0, 3)], "feature_size": 4},
            "block has 4 features and the band is from 0 to 3",
        ),
    ],
)
def test_features_must_suffice(cell, arguments, message):
    with pytest.raises(StructureError, match=message):
        kcells.RNN(kcells.cell(cell, UNITS, **arguments))(np.ones((2, 4, 6), "float32"))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("features", [4, 8])
def test_features_must_be_those_of_before(cell, features, rng):
    layer, other = make_layer(cell, rng, **BLOCKS), inputs(rng, features=features)
    message = f"Cell: the inputs have {features} features, but the cell was built for 6; pass as"
    with pytest.raises(StructureError, match=message):
        layer(other)
    with pytest.raises(StructureError, match=message):
        layer.cell(other[:, 0], layer.cell.get_initial_state(BATCH))


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_must_be_one_tensor(cell):
    with pytest.raises(StructureError, match=r"Cell: .* one tensor of \(batch, features\)"):
        kcells.RNN(kcells.cell(cell, UNITS))({"a": np.ones((2, 4, 3), "float32")})


def test_a_cell_without_the_step_of_a_block(rng):
    layer = kcells.RNN(FrequencyCell(UNITS))
    with pytest.raises(CellError, match=r"FrequencyCell has no advance\(scan, sums, c, carried\)"):
        layer(rng.normal(size=(2, 3, 4)).astype("float32"))
