"""The cell by its name, in layers and models, in files and in other precisions."""

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from ln_gru_reference import run

import kcells
from kcells_plugin_layernorm import LayerNormGRUCell, layer_norm_gru

BATCH, TIME, FEATURES, UNITS = 4, 5, 2, 8
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def sequences(rng):
    return rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def reference(cell, sequences, **options):
    options["reset_after"] = cell.reset_after
    zeros = np.zeros((len(sequences), cell.units))
    weights = {w.name: keras.ops.convert_to_numpy(w).astype("float64") for w in cell.weights}
    return run(weights, sequences.astype("float64"), zeros, **options)[0]


def assert_close(actual, expected):
    # The norm of a product with little variance takes a rounding error along: its factor is
    # 1 / sqrt(variance + epsilon), up to 316.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(actual), expected, rtol=1e-5, atol=1e-5)


def test_by_name(sequences):
    layer = kcells.build("ln_gru", UNITS, return_sequences=True)
    assert type(layer.cell) is LayerNormGRUCell
    assert layer.bound.hoists
    assert_close(layer(sequences), reference(layer.cell, sequences))
    assert kcells.describe("ln_gru").qualified_id == "kcells-plugin-layernorm:ln_gru"


def test_in_a_stack(sequences):
    layer = kcells.build(["ln_gru", "ln_gru"], UNITS, return_sequences=True)
    assert isinstance(layer.cell, kcells.StackedCells)
    outputs = layer(sequences)
    lower, upper = layer.cell.cells
    assert_close(outputs, reference(upper, reference(lower, sequences)))


def test_in_both_directions(sequences):
    mask = np.arange(TIME) < np.array([[5], [3], [1], [4]])
    layer = kcells.Bidirectional(kcells.build("ln_gru", UNITS))
    outputs = layer(sequences, mask=mask)
    forward = reference(layer.forward_layer.cell, sequences, mask=mask)[:, -1]
    backward = reference(layer.backward_layer.cell, sequences, mask=mask, go_backwards=True)[:, -1]
    assert_close(outputs, np.concatenate([forward, backward], axis=-1))


def test_unrolled(sequences):
    layer = kcells.build("ln_gru", UNITS, unroll=True, reset_after=False)
    outputs = layer(sequences)
    assert_close(outputs, reference(layer.cell, sequences)[:, -1])


def test_in_the_rnn_layer_of_keras(sequences):
    cell = LayerNormGRUCell(UNITS, reset_after=False)
    outputs = keras.layers.RNN(cell, return_sequences=True)(sequences)
    assert_close(outputs, reference(cell, sequences))


@pytest.mark.parametrize("options", [{}, {"reset_after": False}], ids=str)
def test_training_lowers_the_loss(options, rng):
    x = rng.normal(size=(64, TIME, FEATURES)).astype("float32")
    y = (x[..., :1].sum(axis=1) > 0).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            kcells.build("ln_gru", 8, dropout=0.05, recurrent_dropout=0.05, seed=1, **options),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    first = model.evaluate(x, y, batch_size=64, verbose=0)
    model.fit(x, y, batch_size=32, epochs=10, verbose=0)
    assert model.evaluate(x, y, batch_size=64, verbose=0) < 0.6 * first


LOAD = """
import sys
import kcells
assert "kcells_plugin_layernorm" not in sys.modules
import keras
import numpy
model = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def test_a_fresh_process_loads_a_saved_model(sequences, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((TIME, FEATURES)),
            kcells.build(
                "ln_gru",
                UNITS,
                reset_after=False,
                gamma_initializer="random_normal",
                dropout=0.2,
                recurrent_dropout=0.2,
                kernel_regularizer="l2",
                return_sequences=True,
            ),
            kcells.Bidirectional(kcells.build("ln_gru", UNITS)),
        ]
    )
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "inputs.npy", sequences)
    files = [str(tmp_path / name) for name in ("model.keras", "inputs.npy", "outputs.npy")]
    process = subprocess.run(
        [sys.executable, "-c", LOAD, *files], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    expected = model.predict(sequences, verbose=0)
    np.testing.assert_allclose(np.load(files[-1]), expected, rtol=1e-6, atol=1e-7)


def test_weights_file(sequences, tmp_path):
    layers = [kcells.build("ln_gru", UNITS) for _ in range(2)]
    first, second = (keras.Sequential([keras.Input((TIME, FEATURES)), layer]) for layer in layers)
    assert not np.allclose(
        first.predict(sequences, verbose=0), second.predict(sequences, verbose=0)
    )
    first.save_weights(tmp_path / "model.weights.h5")
    second.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(
        first.predict(sequences, verbose=0), second.predict(sequences, verbose=0)
    )


@pytest.mark.parametrize(
    ("policy", "variables", "results"),
    [("float64", "float64", "float64"), ("mixed_bfloat16", "float32", "bfloat16")],
)
@pytest.mark.parametrize("reset_after", [True, False])
def test_dtype_policies(policy, variables, results, reset_after, sequences):
    options = {"reset_after": reset_after, "dtype": policy}
    options |= {"dropout": 0.1, "recurrent_dropout": 0.1}
    layer = kcells.build("ln_gru", UNITS, return_sequences=True, return_state=True, **options)
    for training in (False, True):
        for result in layer(sequences.astype(variables), training=training):
            assert keras.backend.standardize_dtype(result.dtype) == results
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights} == {
        variables
    }
    for dropout in (layer.cell.input_dropout, layer.cell.state_dropout):
        assert dropout.dtype_policy.name == policy
    states = [keras.ops.zeros((BATCH, UNITS), dtype=results)]
    output, new_states = layer.cell(sequences[:, 0].astype(variables), states)
    for result in (output, *new_states):
        assert keras.backend.standardize_dtype(result.dtype) == results


@pytest.mark.parametrize("reset_after", [True, False])
def test_half_precision_is_near(reset_after, sequences):
    layer = kcells.build("ln_gru", UNITS, dtype="mixed_bfloat16", reset_after=reset_after)
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(layer(sequences), "float32"))
    # bfloat16 has 8 bits: 2**-8 is 0.004; the norms enlarge the errors of five steps.
    np.testing.assert_allclose(outputs, reference(layer.cell, sequences)[:, -1], atol=0.05)


def test_docstring():
    failures, examples = doctest.testmod(layer_norm_gru)
    assert examples > 0
    assert failures == 0


def test_readme():
    blocks = re.findall(
        r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert blocks
    namespace: dict = {}
    for block in blocks:
        exec(block, namespace)  # noqa: S102 the README is this project's own


def test_configuration_is_json(sequences):
    layer = kcells.build("ln_gru", UNITS)
    layer(sequences)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["config"]["cell_sources"][0]["id"] == "ln_gru"
