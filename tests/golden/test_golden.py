"""Files of earlier releases load, and compute what they computed then; see README.md."""

from pathlib import Path

import keras
import numpy as np
import pytest

import kcells  # noqa: F401  # all that a program has to do before it loads a file
from tests.golden.cells import CUSTOM_OBJECTS

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*/*.keras"))


def test_the_files_are_there():
    assert {file.stem for file in FILES if file.parent.name == "0.1.0"} == {
        "nested",
        "options",
        "stack_both_ways",
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_golden_file(file):
    content = np.load(file.with_suffix(".npz"))
    named = {k.removeprefix("input_"): content[k] for k in content.files if k.startswith("input")}
    expected = [content[k] for k in sorted(content.files) if k.startswith("output_")]
    model = keras.models.load_model(file, custom_objects=CUSTOM_OBJECTS)
    outputs = keras.tree.flatten(model(named.get("inputs", named)))
    assert len(outputs) == len(expected) < 10
    for output, wanted in zip(outputs, expected, strict=True):
        # Backends sum in another order; single precision keeps seven digits.
        np.testing.assert_allclose(keras.ops.convert_to_numpy(output), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_outputs_tell_something(file):
    """Outputs that were all zero, or the same for every sequence, would hold nothing."""
    content = np.load(file.with_suffix(".npz"))
    for name in content.files:
        value = content[name]
        assert np.isfinite(value).all()
        assert np.abs(value).max() > 0.01
        assert np.ptp(value, axis=0).max() > 0.01
