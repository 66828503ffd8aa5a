"""`kcells export`."""

import json

import keras
import numpy as np
import pytest

import kcells
from kcells.files import check, run

BACKEND = keras.backend.backend()
FORMAT = {"tensorflow": "onnx", "jax": "tf_saved_model", "torch": "onnx"}[BACKEND]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.keras"
    layers = [kcells.build("ln_gru", 4, return_sequences=True), kcells.build("lstm", 2)]
    keras.Sequential([keras.Input((6, 3)), *layers, keras.layers.Dense(1)]).save(path)
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_written_is_run(kcells_command, model, tmp_path, streaming):
    out = tmp_path / f"out{run.SUFFIXES[FORMAT]}"
    flags = ["--streaming"] if streaming else []
    done = kcells_command("export", model, out, "--format", FORMAT, *flags, "--json")
    found = json.loads(done.output)
    assert done.exit_code == 0
    assert out.exists()
    assert found["agrees"] is True
    assert found["difference"] < 1e-5
    assert found["megabytes"] > 0
    if streaming:
        assert any(name.startswith("next_") for name in found["outputs"])
        assert "inputs" in found["inputs"]


@pytest.mark.newest_keras
@pytest.mark.skipif(BACKEND != "torch", reason="a format of PyTorch")
def test_a_program_takes_any_batch(kcells_command, tmp_path):
    """Keras by itself writes one for a batch of 1."""
    model = keras.Sequential([keras.Input((2, 3)), kcells.build("simple_rnn", 2)])
    model.save(tmp_path / "model.keras")
    given = tmp_path / "model.keras", tmp_path / "out.pt2"
    done = kcells_command("export", *given, "--format", "torch")
    assert done.exit_code == 0, done.output
    stream = kcells.to_streaming(model)
    stream.export(tmp_path / "step.pt2", format="torch", verbose=False)
    assert check.check_file(stream.flat(), "torch", tmp_path / "step.pt2").agrees()


@pytest.mark.skipif(BACKEND != "torch", reason="the others keep what nothing depends on")
def test_an_input_that_nothing_depends_on(tmp_path):
    layer = kcells.build("feedback", "gru", 3, feed=keras.layers.Dense(2))
    model = kcells.to_streaming(keras.Sequential([keras.Input((None, 2)), layer])).flat()
    out = tmp_path / "out.onnx"
    model(check.drawn(model))
    model.export(out, format="onnx", verbose=False)
    assert check.check_file(model, "onnx", out).agrees()


def test_as_text_and_a_file_that_is_wrong(kcells_command, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(check, "run_file", lambda *given: [np.full((2, 1), 7.0, "float32")])
    done = kcells_command("export", model, out, "--format", FORMAT)
    assert done.exit_code == 1
    assert "NOT RIGHT: it differs from the model by" in done.output

    def missing(*given):
        raise ImportError

    monkeypatch.setattr(check, "run_file", missing)
    done = kcells_command("export", model, out, "--format", FORMAT)
    assert done.exit_code == 0
    assert f"not run: {run.RUNTIMES[FORMAT]} is not installed" in done.output

    def broken(*given):
        raise ValueError("no such operator")

    monkeypatch.setattr(check, "run_file", broken)
    done = kcells_command("export", model, out, "--format", FORMAT)
    assert done.exit_code == 1
    assert "the file does not run: ValueError: no such operator" in done.output


def test_what_cannot_be_written(kcells_command, model, tmp_path):
    other = "torch" if BACKEND != "torch" else "litert"
    done = kcells_command("export", model, tmp_path / "out", "--format", other)
    assert done.exit_code == 1
    assert f"cannot be written in the format {other}" in done.output
    both = tmp_path / "both.keras"
    layer = kcells.Bidirectional(kcells.build("gru", 2))
    keras.Sequential([keras.Input((5, 3)), layer]).save(both)
    done = kcells_command("export", both, tmp_path / "out", "--streaming")
    assert done.exit_code == 1
    assert "cannot be stepped: its backward layer begins at the end" in done.output
