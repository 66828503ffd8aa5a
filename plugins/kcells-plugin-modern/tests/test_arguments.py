"""How weights start, what is asked of them, what is dropped, and what is refused."""

import keras
import numpy as np
import pytest
from modern_checks import BATCH, FEATURES, TIME, UNITS, as_numpy, assert_close, built, make_layer

import kcells
from kcells.errors import ConfigurationError, StructureError

CELLS = {
    "mgu": {},
    "janet": {},
    "li_gru": {},
    "fast_rnn": {},
    "fast_grnn": {"kernel_rank": 2},
    "lem": {},
    "cornn": {"dt": 0.5},
    "rhn": {"depth": 2, "transform_bias": None},
    "slstm": {},
    "on_lstm": {},
    "nested_lstm": {},
    "unicornn": {"dt": 0.9},
    "lmu": {"order": 4, "theta": 6.0, "use_bias": True},
    "cfc": {"backbone_units": 4, "backbone_layers": 2},
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CELLS)
def test_dropout_of_the_state_acts_in_training(name, rng):
    """At a rate near 1 no product with the state is left, and with matrices of zeros none."""
    options = {key: value for key, value in CELLS[name].items() if key != "kernel_rank"}
    layer = make_layer(rng, name, recurrent_dropout=1.0 - 1e-9, **options)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    dropped, usual = layer(x, training=True)[0], as_numpy(layer(x)[0])
    assert np.abs(as_numpy(dropped) - usual).max() > 1e-3
    on_the_state = ["encoder_state", *(f"recurrent_kernel{end}" for end in ("", "_y", "_1", "_2"))]
    for weight in layer.weights:
        if weight.name in on_the_state:
            weight.assign(np.zeros(weight.shape))
    assert_close(dropped, layer(x)[0])


# -- How weights start


def test_chrono_initialization():
    """`log(u)`, with `u` uniform from 1 to `max_time - 1`; the candidate as it is told."""
    others = {"bias_initializer": "ones", "recurrent_initializer": "zeros"}
    bias = as_numpy(built("janet", 4000, max_time=101.0, **others).bias)
    times = np.exp(bias[:4000])
    assert times.min() >= 1.0 - 1e-5
    assert times.max() <= 100.0 + 1e-3
    # 4000 draws: the standard error of the mean is 0.45.
    assert abs(times.mean() - 50.5) < 2.0
    assert (bias[4000:] == 1.0).all()
    assert len(set(times.round(6))) > 3900


def test_chrono_initialization_of_half_precision_is_finite():
    bias = built("janet", 50, max_time=1e6, dtype="float16", recurrent_initializer="zeros").bias
    assert np.isfinite(as_numpy(bias)).all()


def test_janet_without_chrono_starts_at_zero():
    assert not as_numpy(built("janet").bias).any()


def test_fast_cells_start_near_their_state():
    rnn, grnn = built("fast_rnn"), built("fast_grnn")
    assert [as_numpy(one).item() for one in (rnn.new_share, rnn.old_share)] == [-3.0, 3.0]
    assert [as_numpy(one).item() for one in (grnn.new_share, grnn.least_share)] == [1.0, -4.0]
    assert (as_numpy(grnn.bias) == 1.0).all()
    assert as_numpy(built("fast_rnn", alpha=0.5).new_share).item() == 0.5
    assert as_numpy(built("fast_grnn", nu=0.5).least_share).item() == 0.5


@pytest.mark.parametrize("coupled", [True, False])
def test_transform_biases_start_low(coupled):
    cell = built("rhn", coupled=coupled, transform_bias=-3.0, bias_initializer="ones")
    expected = np.repeat([1.0, -3.0] if coupled else [1.0, -3.0, 1.0], UNITS)
    assert len(cell.biases) == 3
    for bias in cell.biases:
        np.testing.assert_array_equal(as_numpy(bias), expected)


@pytest.mark.parametrize("name", ["mgu", "li_gru", "lem", "cornn", "slstm", "on_lstm"])
def test_other_weights_start_as_in_keras(name):
    cell = built(name, 4)
    assert not as_numpy(cell.bias).any()
    limit = np.sqrt(6.0 / sum(cell.kernel.shape))
    assert np.abs(as_numpy(cell.kernel)).max() <= limit
    matrix = as_numpy(cell.recurrent_kernel)
    matrix = matrix.reshape(-1, matrix.shape[-1])
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(wide @ wide.T, np.eye(len(wide)), atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_each_head_starts_orthogonal(heads):
    matrices = as_numpy(built("slstm", 16, heads=heads).recurrent_kernel)
    for matrix in matrices:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(16 // heads), atol=1e-5)
    assert len({matrix.tobytes() for matrix in matrices}) == heads


def test_random_biases_of_layers_and_blocks_differ():
    cell = built("rhn", coupled=False, bias_initializer="random_normal")
    blocks = [block for bias in cell.biases for block in np.split(as_numpy(bias), 3)]
    assert len({block.tobytes() for block in blocks}) == 7


def test_oscillators_start_as_in_the_paper():
    cell = built("unicornn", 1000)
    w, c = as_numpy(cell.recurrent_kernel), as_numpy(cell.control)
    for values, low, high in ((w, 0.0, 1.0), (c, -0.1, 0.1)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high


def test_encoders_start_as_in_the_paper():
    cell = built("lmu", 1000, order=5, theta=9.0, features=1000)
    assert cell.bias is None
    assert not as_numpy(cell.encoder_memory).any()
    encoders = [as_numpy(one) for one in (cell.encoder_inputs, cell.encoder_state)]
    for encoder in encoders:
        assert 0.95 * np.sqrt(3 / 1000) < np.abs(encoder).max() <= np.sqrt(3 / 1000)
    assert not np.array_equal(*encoders)
    assert abs(as_numpy(cell.kernel).std() * np.sqrt(1000) - 1.0) < 0.02


# -- What is refused

REFUSED = [
    ("janet", {"max_time": 1.5}, "max_time must be None, or a number of at least 2"),
    ("janet", {"max_time": 9, "use_bias": False}, "received max_time=9, use_bias=False"),
    ("fast_grnn", {"kernel_rank": 0}, "FastGRNNCell: kernel_rank must be a positive int; rec"),
    ("fast_grnn", {"recurrent_rank": 1.5}, "recurrent_rank must be a positive int; received 1.5"),
    ("rhn", {"depth": 0}, "RHNCell: depth must be a positive int; received 0"),
    ("slstm", {"forget_gate": "exp"}, 'must be "sigmoid" or "exponential"; received \'exp\''),
    ("slstm", {"heads": 2}, "heads must divide units; received heads=2, units=3"),
    ("slstm", {"heads": 0}, "heads must be a positive int; received 0"),
    ("on_lstm", {"chunk_size": 2}, "chunk_size must divide units; received chunk_size=2, units=3"),
    ("lmu", {"order": 0, "theta": 1.0}, "LMUCell: order must be a positive int; received 0"),
    ("lmu", {"order": 2, "theta": -1.0}, "theta must be a positive float; received -1.0"),
    ("lmu", {"order": 2, "theta": "long"}, "theta must be a positive float; received 'long'"),
    ("cfc", {"backbone_units": 0}, "CfCCell: backbone_units must be a positive int; received 0"),
    ("cfc", {"backbone_layers": 0}, "backbone_layers must be a positive int; received 0"),
    ("on_lstm", {"chunk_size": None}, "chunk_size must be a positive int; received None"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED, ids=str)
def test_arguments_out_of_range(name, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        kcells.cell(name, UNITS, **arguments)


@pytest.mark.parametrize("name", CELLS)
def test_units_and_inputs(name):
    with pytest.raises(ConfigurationError, match="units must be a positive int; received 0"):
        kcells.cell(name, 0, **CELLS[name])
    with pytest.raises(StructureError, match=r"must be one tensor of \(batch, features\)"):
        kcells.build(name, UNITS, **CELLS[name])(np.ones((2, 4, 3, 3), "float32"))


def test_a_time_alone_is_no_input():
    with pytest.raises(StructureError, match="at least one more feature; received 1 feature"):
        built("cfc", features=1, timed=True)


@pytest.mark.parametrize("name", CELLS)
def test_activations_are_used(name):
    """Each argument that names an activation changes the result."""
    cell = built(name, **CELLS[name])
    named = [key for key in cell.get_config() if key.endswith("activation")]
    x = keras.ops.ones((1, FEATURES))
    states = [0.5 * keras.ops.ones(zeros.shape) for zeros in cell.get_initial_state(1)]
    for key in named:
        other = built(name, **{**CELLS[name], key: "softsign"})
        other.set_weights(cell.get_weights())
        results = [as_numpy(one(x, states)[0]) for one in (cell, other)]
        assert np.abs(results[0] - results[1]).max() > 1e-6, key


@pytest.mark.parametrize("seed", [None, 3])
def test_the_heads_of_cfc_are_drawn_one_by_one(seed):
    """Glorot's bound is that of one head, and no head is another."""
    initializer = keras.initializers.GlorotUniform(seed=seed)
    cell = kcells.cell("cfc", 20, backbone_units=40, kernel_initializer=initializer)
    cell.build((None, 3))
    kernel = keras.ops.convert_to_numpy(cell.heads[0])
    heads = np.split(kernel, 4, axis=1)
    for number, head in enumerate(heads):
        assert 0.9 * (6 / 60) ** 0.5 < np.abs(head).max() <= (6 / 60) ** 0.5
        assert all(np.abs(head - other).max() > 0.1 for other in heads[:number])


def test_the_heads_of_cfc_take_any_initializer():
    cell = kcells.cell("cfc", 2, kernel_initializer=lambda shape, dtype: keras.ops.ones(shape))
    cell.build((None, 3))
    assert (keras.ops.convert_to_numpy(cell.heads[0]) == np.ones((128, 8))).all()
