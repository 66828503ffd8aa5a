"""minLSTM, QRNN, SRU and RG-LRU against NumPy, simpler cells, and each of their arguments."""

import functools

import keras
import numpy as np
import pytest
from input_cell_reference import run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import MinGRUCell, MinLSTMCell, QRNNCell, RGLRUCell, SRUCell

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 3

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
CELLS = {"min_lstm": MinLSTMCell, "qrnn": QRNNCell, "sru": SRUCell, "rg_lru": RGLRUCell}
CASES = [
    ("min_lstm", {}),
    ("min_lstm", {"normalize_gates": False}),
    ("min_lstm", {"activation": "positive"}),
    ("min_lstm", {"use_bias": False}),
    ("qrnn", {"pooling": "f"}),
    ("qrnn", {"pooling": "fo"}),
    ("qrnn", {"pooling": "ifo"}),
    ("qrnn", {"pooling": "ifo", "use_bias": False}),
    ("sru", {}),
    ("sru", {"units": FEATURES, "highway_scale": 3**0.5, "activation": "linear"}),
    ("sru", {"use_bias": False}),
    ("rg_lru", {}),
    ("rg_lru", {"power": 2.5}),
    ("rg_lru", {"use_bias": False}),
]


def units_of(cell):
    return FEATURES if cell == "rg_lru" else UNITS


def make_layer(rng, cell, dtype="float64", **options):
    """A layer with random weights."""
    options = {"units": units_of(cell), **options}
    made = CELLS[cell](dtype=dtype, **options)
    layer = kcells.RNN(made, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def make_sequences(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES))


def built(cell, **arguments):
    made = CELLS[cell](**{"units": units_of(cell), **arguments})
    made.build((None, FEATURES))
    return made


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("cell", "options"), CASES, ids=str)
def test_outputs_states_and_gradients(cell, options, rng, compare):
    layer = make_layer(rng, cell, **options)
    of_equations = {k: v for k, v in options.items() if k not in ("units", "use_bias")}
    reference = functools.partial(run, mask=MASK, cell=cell, **of_equations)
    compare(layer, make_sequences(rng), reference, MASK)


@pytest.mark.usefixtures("float64")
def test_a_min_lstm_with_equal_gates_halves(rng):
    layer = make_layer(rng, "min_lstm")
    kernel, bias = layer.get_weights()
    kernel[:, UNITS : 2 * UNITS], bias[UNITS : 2 * UNITS] = kernel[:, :UNITS], bias[:UNITS]
    layer.set_weights([kernel, bias])
    sequences = make_sequences(rng)
    candidates = sequences @ kernel[:, 2 * UNITS :] + bias[2 * UNITS :]
    weights = 0.5 ** np.arange(TIME, 0, -1)[:, None]
    np.testing.assert_allclose(as_numpy(layer(sequences)[1]), (weights * candidates).sum(1))


def test_the_gates_of_a_min_lstm_may_both_be_shut():
    """Both gates are exp(-200) or less, which float32 cannot hold; their quotient it can."""
    layer = kcells.RNN(MinLSTMCell(1), return_sequences=True)
    layer.build((1, 1, 1))
    layer.set_weights([np.zeros((1, 3)), np.array([-200.0, -201.0, 1.0])])
    outputs = layer(np.ones((1, 1, 1), "float32"))
    np.testing.assert_allclose(as_numpy(outputs), 1 / (1 + np.e), rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_a_qrnn_with_one_gate_is_a_min_gru(rng):
    """`f` of the one is `1 - z` of the other, and the blocks are in another order."""
    layer = make_layer(rng, "qrnn", pooling="f", activation="linear")
    other = kcells.RNN(MinGRUCell(UNITS), return_sequences=True)
    other.build((BATCH, TIME, FEATURES))
    kernel, bias = layer.get_weights()
    swapped = [np.roll(weight, UNITS, axis=-1) for weight in (kernel, bias)]
    signs = np.repeat([-1.0, 1.0], UNITS)
    other.set_weights([weight * signs for weight in swapped])
    sequences = make_sequences(rng)
    np.testing.assert_allclose(as_numpy(layer(sequences)[0]), as_numpy(other(sequences)))


@pytest.mark.usefixtures("float64")
def test_a_qrnn_with_opposite_gates_needs_no_third(rng):
    ifo, fo = (make_layer(rng, "qrnn", pooling=pooling) for pooling in ("ifo", "fo"))
    kernel, bias = fo.get_weights()
    gate = slice(UNITS, 2 * UNITS)
    ifo.set_weights([np.concatenate([w, -w[..., gate]], axis=-1) for w in (kernel, bias)])
    sequences = make_sequences(rng)
    for first, second in zip(ifo(sequences), fo(sequences), strict=True):
        np.testing.assert_allclose(as_numpy(first), as_numpy(second))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("is_open", [True, False])
def test_the_second_gate_of_an_sru_lets_state_or_input_through(is_open, rng):
    layer = make_layer(rng, "sru", units=FEATURES, highway_scale=2.0)
    bias = layer.get_weights()[1]
    bias[FEATURES:] = 100.0 if is_open else -100.0
    layer.cell.bias.assign(bias)
    sequences = make_sequences(rng)
    outputs, state = map(as_numpy, layer(sequences))
    expected = np.tanh(state) if is_open else 2.0 * sequences[:, -1]
    np.testing.assert_allclose(outputs[:, -1], expected)


def test_an_rg_lru_keeps_the_scale_of_its_inputs(rng):
    """Under white noise the state has the variance of the gated inputs, whatever `a` is."""
    cell = RGLRUCell(200, r_min=0.3, r_max=0.95, seed=1, kernel_initializer="zeros")
    layer = kcells.RNN(cell)
    noise = rng.normal(size=(20, 300, 200)).astype("float32")
    layer.build(noise.shape)
    cell.bias.assign(np.full(400, 100.0))
    variances = as_numpy(layer(noise)).var(axis=0)
    fast, slow = np.array_split(variances[np.argsort(as_numpy(cell.decay))], 2)
    assert abs(fast.mean() - 1.0) < 0.15
    assert abs(slow.mean() - 1.0) < 0.15


def test_an_rg_lru_that_forgets_nothing_has_gradients(rng):
    """With r near 0, `a` is 1 and the root has no slope."""
    layer = make_layer(rng, "rg_lru", "float32")
    layer.cell.bias.assign(np.repeat([-120.0, 0.0], FEATURES))

    def call(leaves):
        return [layer(leaves[0])[0]]

    from kcells.testing import Differentiated

    sequences = make_sequences(rng).astype("float32")
    _, gradients = Differentiated(layer, call)([sequences], [np.ones_like(sequences)])
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# -- How the weights start


@pytest.mark.parametrize("radii", [(0.9, 0.999), (0.1, 0.5), (0.7, 0.7)])
@pytest.mark.parametrize("power", [8.0, 1.0])
def test_the_decay_of_an_rg_lru_starts_uniformly(radii, power):
    cell = RGLRUCell(2000, r_min=radii[0], r_max=radii[1], power=power, seed=5)
    cell.build((None, 2000))
    values = (1.0 / (1.0 + np.exp(-as_numpy(cell.decay)))) ** power
    assert values.min() >= radii[0] - 1e-4
    assert values.max() <= radii[1] + 1e-4
    if radii[0] < radii[1]:
        shares = (values - radii[0]) / (radii[1] - radii[0])
        # 2000 uniform numbers: the standard error of the mean is 0.0065.
        assert abs(shares.mean() - 0.5) < 0.03
        assert abs(shares.var() - 1 / 12) < 0.01


@pytest.mark.parametrize("cell", ["sru", "rg_lru"])
def test_kernels_with_the_variance_of_the_paper(cell):
    made = CELLS[cell](300)
    made.build((None, 300))
    kernel = as_numpy(made.kernel)
    assert abs(kernel.var() * 300 - 1.0) < 0.05
    is_uniform = np.abs(kernel).max() <= (3 / 300) ** 0.5 + 1e-6
    assert is_uniform == (cell == "sru")


@pytest.mark.parametrize("cell", CELLS)
def test_biases_start_at_zero(cell):
    assert (as_numpy(built(cell).bias) == 0.0).all()


# -- Arguments


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [0, -1, 2.5, "8", True, None])
def test_units_must_be_a_positive_int(cell, units):
    with pytest.raises(ConfigurationError, match="Cell: units must be a positive int; received "):
        CELLS[cell](units)


@pytest.mark.parametrize("cell", CELLS)
def test_the_rate_must_be_in_range(cell):
    with pytest.raises(ConfigurationError, match="rate must be at least 0 and less than 1"):
        CELLS[cell](UNITS, dropout=1.0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("inputs", [{"a": np.ones((2, 4, 3))}, np.ones((2, 4, 3, 3))])
def test_inputs_must_be_one_tensor(cell, inputs):
    with pytest.raises(StructureError, match=r"Cell: .* one tensor of \(batch, features\)"):
        kcells.build(cell, UNITS)(inputs)


@pytest.mark.parametrize("pooling", ["o", "", None, True])
def test_pooling_is_one_of_three(pooling):
    with pytest.raises(ConfigurationError, match='must be "f", "fo" or "ifo"; received'):
        QRNNCell(UNITS, pooling=pooling)


@pytest.mark.parametrize(
    "radii", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0), (float("nan"), 0.9), (None, 0.9)]
)
def test_radii_must_be_in_range(radii):
    with pytest.raises(ConfigurationError, match="must be 0 < r_min <= r_max < 1; received r_m"):
        RGLRUCell(UNITS, r_min=radii[0], r_max=radii[1])


@pytest.mark.parametrize("power", [0.0, -1.0, float("nan"), "8"])
def test_power_must_be_positive(power):
    with pytest.raises(ConfigurationError, match="power must be a positive float; received"):
        RGLRUCell(UNITS, power=power)


def test_the_state_of_an_rg_lru_has_the_size_of_its_inputs():
    with pytest.raises(StructureError, match=r"2 features and units=3\.\n  Pass units=2"):
        RGLRUCell(UNITS).build((None, FEATURES))
