"""Files for ONNX from PyTorch, whose exporter knows weights by their path and by their device.

Every cell in every format: `benchmarks/export.py` of kcells.
"""

import keras
import numpy as np
import pytest

import kcells
from kcells.files import check_file
from kcells_plugin_wrappers import Bahdanau

if keras.backend.backend() != "torch":
    pytest.skip("about the PyTorch backend", allow_module_level=True)
pytest.importorskip("onnxruntime")

CELLS = {
    "device": lambda: kcells.cell("device", "simple_rnn", 2, device="cpu:0"),
    "copies": lambda: kcells.cell("fast_slow", keras.layers.SimpleRNNCell(2)),
    "normalized": lambda: kcells.cell(
        "attention", "simple_rnn", 2, score=Bahdanau(normalize=True), learned_memory=(3, 2)
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_file_computes_what_the_model_does(name, tmp_path):
    model = keras.Sequential([keras.Input((3, 2)), kcells.RNN(CELLS[name]())])
    model(np.ones((1, 3, 2), "float32"))
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    assert check_file(model, "onnx", tmp_path / "model.onnx").agrees()
