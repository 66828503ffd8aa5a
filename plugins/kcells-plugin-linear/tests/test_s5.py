"""S5 against NumPy, the differential equation that it solves, an LRU, and its arguments."""

import functools

import keras
import numpy as np
import pytest
from complex_reference import normal_hippo, run

import kcells
from kcells.errors import ConfigurationError, StructureError
from kcells_plugin_linear import LRUCell, S5Cell

# Units, complex numbers in the state and features all differ, but where D is diagonal.
BATCH, TIME, FEATURES, UNITS, SIZE = 4, 5, 2, 3, 4

# A row of every kind: full, right-padded, with holes, empty.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
OPTIONS = [
    {"units": FEATURES, "feedthrough": "diagonal"},
    {"feedthrough": None},
    {"use_bias": True},
    {"conjugate": False},
    {"timed": True},
    {"timed": True, "feedthrough": None, "conjugate": False},
]


def make_layer(rng, dtype="float64", units=UNITS, timed=False, **options):
    """A layer with random weights; steps up to one, and states that decay."""
    options = {"feedthrough": "matrix", **options}
    cell = S5Cell(units, SIZE, dtype=dtype, timed=timed, **options)
    layer = kcells.RNN(cell, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((BATCH, TIME, FEATURES + timed))
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    cell.lambda_real.assign(-rng.uniform(0.1, 1.0, SIZE))
    cell.lambda_imaginary.assign(rng.uniform(0.2, 3.0, SIZE))
    cell.log_step.assign(rng.uniform(-1.5, 0.0, SIZE))
    return layer


def make_sequences(rng, timed=False):
    sequences = rng.normal(size=(BATCH, TIME, FEATURES + timed))
    if timed:
        sequences[..., -1] = rng.uniform(0.2, 2.0, (BATCH, TIME))
    return sequences


def built(units=UNITS, features=FEATURES, **arguments):
    cell = S5Cell(units, **{"feedthrough": "matrix", **arguments})
    cell.build((None, features))
    return cell


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def weight_values(layer):
    return {weight.name: as_numpy(weight) for weight in layer.weights}


# -- The numbers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_states_and_gradients(options, rng, compare):
    layer = make_layer(rng, **options)
    expected = 6 - (options.get("feedthrough", "") is None) + options.get("use_bias", False)
    assert len(layer.weights) == expected
    of_equations = {k: v for k, v in options.items() if k in ("conjugate", "timed")}
    reference = functools.partial(run, mask=MASK, cell="s5", **of_equations)
    compare(layer, make_sequences(rng, options.get("timed", False)), reference, MASK)


@pytest.mark.usefixtures("float64")
def test_it_is_an_lru_at_equal_steps(rng):
    """The gain of the steps in the matrix before the state, the conjugates in that after it."""
    layer = make_layer(rng)
    w = weight_values(layer)
    step = np.exp(w["log_step"])
    rates = w["lambda_real"] + 1j * w["lambda_imaginary"]
    b = w["kernel"][:, :SIZE] + 1j * w["kernel"][:, SIZE:]
    b = b * (np.exp(rates * step) - 1.0) / rates
    other = kcells.RNN(LRUCell(UNITS, SIZE), return_sequences=True, return_state=True)
    other.build((BATCH, TIME, FEATURES))
    other.set_weights(
        [
            np.log(-w["lambda_real"] * step),
            np.log(w["lambda_imaginary"] * step),
            np.zeros(SIZE),
            np.hstack([b.real, b.imag]),
            2.0 * w["kernel_output"],
            w["kernel_feedthrough"],
        ]
    )
    sequences = make_sequences(rng)
    for first, second in zip(layer(sequences), other(sequences), strict=True):
        np.testing.assert_allclose(as_numpy(first), as_numpy(second), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_it_solves_the_differential_equation(rng):
    """Many small steps of Heun's third-order rule come to the same state as one step."""
    layer = make_layer(rng, timed=True)
    w = weight_values(layer)
    sequences = make_sequences(rng, timed=True)
    rates = w["lambda_real"] + 1j * w["lambda_imaginary"]
    b = w["kernel"][:, :SIZE] + 1j * w["kernel"][:, SIZE:]
    x, parts = np.zeros((BATCH, SIZE), complex), 2000
    for t in range(TIME):
        drive = sequences[:, t, :-1] @ b
        h = sequences[:, t, -1:] * np.exp(w["log_step"]) / parts
        for _ in range(parts):
            k_1 = rates * x + drive
            k_2 = rates * (x + h / 3 * k_1) + drive
            k_3 = rates * (x + 2 * h / 3 * k_2) + drive
            x = x + h / 4 * (k_1 + 3 * k_3)
    state = as_numpy(layer(sequences)[1])
    np.testing.assert_allclose(state[..., 0] + 1j * state[..., 1], x, rtol=1e-7, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_a_step_may_be_cut_in_two(rng):
    layer = make_layer(rng, timed=True)
    whole = make_sequences(rng, timed=True)
    halves = np.repeat(whole, 2, axis=1)
    halves[..., -1] /= 2
    for first, second in zip(layer(whole), layer(halves), strict=True):
        second = as_numpy(second)
        second = second[:, 1::2] if second.shape[1:] == (2 * TIME, UNITS) else second
        np.testing.assert_allclose(as_numpy(first), second, rtol=1e-9, atol=1e-12)


def test_no_time_changes_no_state(rng):
    layer = make_layer(rng, "float32", timed=True)
    sequences = make_sequences(rng, timed=True)
    sequences[..., -1] = 0.0
    start = rng.normal(size=(BATCH, SIZE, 2)).astype("float32")
    state = layer(sequences.astype("float32"), initial_state=start)[1]
    np.testing.assert_allclose(as_numpy(state), start, rtol=1e-6)


def test_small_steps_keep_their_digits(rng):
    """Where Lambda * d is 1e-6, exp of it less 1 has but one digit left in float32."""
    layer = make_layer(rng, "float32", feedthrough=None)
    layer.cell.log_step.assign(np.full(SIZE, np.log(1e-6)))
    sequences = make_sequences(rng).astype("float32")
    zeros = np.zeros((BATCH, SIZE, 2))
    expected = run(weight_values(layer), sequences.astype("float64"), zeros, cell="s5")
    for actual, other in zip(layer(sequences), expected, strict=True):
        np.testing.assert_allclose(as_numpy(actual), other, atol=1e-5 * np.abs(other).max())


def test_half_precision_is_near(rng):
    layer, half = make_layer(rng, "float32"), make_layer(rng, "mixed_bfloat16")
    half.set_weights(layer.get_weights())
    sequences = make_sequences(rng).astype("float32")
    expected, actual = (
        as_numpy(keras.ops.cast(one(sequences)[0], "float32")) for one in (layer, half)
    )
    # bfloat16 has 8 bits: 2**-8 is 0.004, a few times in five steps.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.03 * np.abs(expected).max())


# -- How the weights start


@pytest.mark.parametrize(
    ("size", "blocks", "conjugate"), [(6, 1, True), (6, 3, True), (6, 2, False), (5, 1, False)]
)
def test_lambda_starts_at_the_eigenvalues_of_hippo(size, blocks, conjugate):
    values = weight_values(
        built(state_units=size, blocks=blocks, conjugate=conjugate, feedthrough=None)
    )
    block = normal_hippo(size // blocks * (1 + conjugate))
    eigenvalues = np.linalg.eigvals(block)
    wanted = np.sort(eigenvalues.imag)[: size // blocks]
    np.testing.assert_allclose(values["lambda_real"], -0.5)
    np.testing.assert_allclose(eigenvalues.real, -0.5)
    for part in np.split(values["lambda_imaginary"], blocks):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5)


def draw(shape, mode, seed):
    return as_numpy(keras.initializers.VarianceScaling(1.0, mode, "truncated_normal", seed)(shape))


@pytest.mark.parametrize(("blocks", "conjugate"), [(1, True), (2, True), (2, False)])
def test_the_matrices_start_in_the_basis_of_its_eigenvectors(blocks, conjugate):
    """With the same draws, the responses to an impulse are those of the matrix itself."""
    size, full = 4, 4 * (1 + conjugate)
    values = weight_values(
        built(state_units=size, blocks=blocks, conjugate=conjugate, seed=7, feedthrough=None)
    )
    small = normal_hippo(full // blocks)
    eigenvalues, vectors = np.linalg.eig(small)
    kept = vectors[:, np.argsort(eigenvalues.imag)[: size // blocks]]
    # The projection on what is kept does not depend on the phases of the eigenvectors.
    projection = np.kron(np.eye(blocks), kept @ kept.conj().T)
    b = draw((FEATURES, full), "fan_out", 8).T
    c = (draw((full, UNITS), "fan_in", 9) + 1j * draw((full, UNITS), "fan_in", 10)).T
    start = values["kernel"][:, :size] + 1j * values["kernel"][:, size:]
    end = values["kernel_output"][:size] + 1j * values["kernel_output"][size:]
    rates = values["lambda_real"] + 1j * values["lambda_imaginary"]
    matrix = np.kron(np.eye(blocks), small)
    for power in range(4):
        expected = c @ np.linalg.matrix_power(matrix, power) @ projection @ b
        actual = (end.T * rates**power) @ start.T
        np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())
    if not conjugate:
        np.testing.assert_allclose(projection, np.eye(full), atol=1e-10)


def test_steps_start_between_their_bounds():
    log_steps = as_numpy(built(state_units=2000, blocks=500, seed=3).log_step)
    shares = (log_steps - np.log(0.001)) / (np.log(0.1) - np.log(0.001))
    assert shares.min() >= -1e-6
    assert shares.max() <= 1 + 1e-6
    # 2000 uniform numbers: the standard error of the mean is 0.0065.
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / 12) < 0.01
    log_steps = as_numpy(built(state_units=20, min_step=0.5, max_step=0.5).log_step)
    np.testing.assert_allclose(log_steps, np.log(0.5), rtol=1e-6)


def test_the_variances_at_the_start():
    cell = built(units=300, features=300, state_units=100, blocks=5, seed=1)
    for kernel, axis in ((cell.kernel, 1), (cell.kernel_output, 0)):
        first, second = np.split(as_numpy(kernel), 2, axis=axis)
        squares = (first**2 + second**2).mean() * 200
        # B is real, and C complex with the variance of one part.
        assert abs(squares / (1.0 if kernel is cell.kernel else 2.0) - 1.0) < 0.05
    assert abs(as_numpy(cell.kernel_feedthrough).std() * 300**0.5 - 1.0) < 0.02
    diagonal = built(units=1000, features=1000, state_units=1, feedthrough="diagonal")
    assert abs(as_numpy(diagonal.kernel_feedthrough).std() - 1.0) < 0.1


def test_the_seed_is_for_the_start():
    same, again, other, free, free_again = (
        [as_numpy(weight) for weight in built(seed=seed).weights] for seed in (1, 1, 2, None, None)
    )
    for one, two, three in zip(same[2:], again[2:], other[2:], strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, three)
    for one, two in zip(free[2:], free_again[2:], strict=True):
        assert not np.array_equal(one, two)


def test_weights_of_half_precision_start_finite():
    cell = built(dtype="float16", state_units=64)
    assert all(np.isfinite(value).all() for value in weight_values(cell).values())


def test_state_units_are_units_by_default():
    cell = S5Cell(5)
    assert (cell.state_units, cell.state_size, cell.output_size) == (5, [(5, 2)], 5)


# -- Arguments


REFUSED = [
    ({"units": 0}, "S5Cell: units must be a positive int; received 0"),
    ({"state_units": 0}, "S5Cell: state_units must be a positive int; received 0"),
    ({"blocks": 0}, "S5Cell: blocks must be a positive int; received 0"),
    ({"blocks": 2}, "blocks must divide state_units; received blocks=2, state_units=3"),
    ({"min_step": 0.0}, "it must be 0 < min_step <= max_step; received min_step=0.0, max_step=0.1"),
    ({"min_step": 0.2}, "it must be 0 < min_step <= max_step; received min_step=0.2"),
    ({"min_step": "a"}, "it must be 0 < min_step <= max_step; received min_step='a', max_step=0.1"),
    ({"max_step": float("inf")}, "it must be 0 < min_step <= max_step; received min_step=0.001"),
    ({"feedthrough": "full"}, 'must be "diagonal", "matrix" or None; received \'full\''),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        S5Cell(**{"units": UNITS, **arguments})


def test_inputs_must_fit():
    with pytest.raises(StructureError, match=r"S5Cell: .* one tensor of \(batch, features\)"):
        kcells.build("s5", UNITS)(np.ones((2, 4, 3, 3), "float32"))
    with pytest.raises(StructureError, match=r"received 2 features and units=3\. Use feedth"):
        built(feedthrough="diagonal")
    with pytest.raises(StructureError, match="at least one more feature; received 1 feature"):
        built(features=1, timed=True)
