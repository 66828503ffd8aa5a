"""What holds for every cell of this distribution, whatever it computes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from comparison import as_numpy, assert_close

import kcells

__all__ = ["check_documented", "check_linear_law", "check_loads_in_a_fresh_process"]

README = Path(__file__).parents[1] / "README.md"


def check_linear_law(cell, sequences, state, training=False):
    """`linear_recurrence`, for all steps at once, gives what the cell gives step by step.

    The recurrence itself is computed here, by NumPy, with its complex numbers.
    """
    steps = keras.ops.convert_to_tensor(np.swapaxes(sequences, 0, 1))
    cell.input_dropout.draw(sequences.shape[0])
    projected = cell.project_inputs(steps, training=training)
    (a,), (b,), read_out, product = cell.linear_recurrence(projected)
    h, hs = as_numbers(state, product), []
    coefficients = (as_numbers(array, product) for array in (a, b))
    for a_t, b_t in zip(*with_shape(*coefficients, (len(steps), *h.shape)), strict=True):
        h = a_t * h + b_t
        hs.append(h)
    states = keras.ops.convert_to_tensor(as_reals(np.stack(hs), product).astype(sequences.dtype))
    outputs = read_out([states], projected)

    expected_states = [keras.ops.convert_to_tensor(state)]
    for t, x in enumerate(keras.ops.unstack(steps)):
        expected, expected_states = cell(x, expected_states, training=training)
        assert_close(outputs[t], as_numpy(expected), 1e-6, f"output {t}")
        assert_close(states[t], as_numpy(expected_states[0]), 1e-6, f"state {t}")
    cell.input_dropout.forget()


def as_numbers(array, product):
    array = as_numpy(array)
    return array[..., 0] + 1j * array[..., 1] if product == "complex" else array


def as_reals(numbers, product):
    return np.stack([numbers.real, numbers.imag], -1) if product == "complex" else numbers


def with_shape(a, b, shape):
    return np.broadcast_to(a, shape), np.broadcast_to(b, shape)


LOAD = """
import sys
import kcells
assert "kcells_plugin_linear" not in sys.modules
import keras
import numpy
model = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def check_loads_in_a_fresh_process(cells, sequences, tmp_path):
    """A model of these cells, saved here, predicts the same in a process of its own."""
    layers = [kcells.RNN(cell, return_sequences=True) for cell in cells]
    model = keras.Sequential([keras.Input(sequences.shape[1:]), *layers])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "inputs.npy", sequences)
    files = [str(tmp_path / name) for name in ("model.keras", "inputs.npy", "outputs.npy")]
    process = subprocess.run(
        [sys.executable, "-c", LOAD, *files], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    expected = model.predict(sequences, verbose=0)
    np.testing.assert_allclose(np.load(files[-1]), expected, rtol=1e-6, atol=1e-7)


def check_documented():
    """The README's examples run, one after the other."""
    text = README.read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    namespace: dict = {}
    for block in blocks:
        exec(block, namespace)  # noqa: S102 the README is this project's own
