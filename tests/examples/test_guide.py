"""examples/guide.py: the shapes and parameter counts that the guides print, and the equalities.

Where one section shows that two ways compute the same, the difference allowed is that of
float32 sums in another order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

import kcells

ROUNDING = 1e-5


@pytest.fixture(scope="module")
def guide(examples: Any) -> ModuleType:
    return examples.module("guide")


@pytest.fixture(scope="module")
def section(guide: ModuleType) -> Callable[[str], dict[str, Any]]:
    """What the section of that name returns."""
    done: dict[str, dict[str, Any]] = {}

    def run(name: str) -> dict[str, Any]:
        if name not in done:
            done[name] = getattr(guide, name)()
        return done[name]

    return run


def counts(model: keras.Model) -> list[int]:
    """The parameter count of every layer that has a line in the summary."""
    layers = model.layers
    return [layer.count_params() for layer in layers if not _is_input(layer)]


def _is_input(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def shapes(model: keras.Model) -> list[tuple[int | None, ...]]:
    return [layer.output.shape for layer in model.layers if not _is_input(layer)]


def as_numpy(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def test_built_in_layers(section: Any) -> None:
    model = section("built_in_layers")["model"]
    assert isinstance(model.layers[1], kcells.RNN)
    assert isinstance(model.layers[1], keras.layers.LSTM)
    assert counts(model) == [64_000, 98_816, 1_290]
    assert shapes(model) == [(None, None, 64), (None, 128), (None, 10)]
    assert model.count_params() == 164_106


def test_layer_options(section: Any) -> None:
    differences = section("layer_options")["differences"]
    assert differences["dropout in training"] > 0.01
    assert differences["backwards, against the reversed input"] < ROUNDING
    assert differences["unrolled, against the loop"] < ROUNDING


def test_outputs(section: Any) -> None:
    model = section("outputs")["model"]
    assert counts(model) == [64_000, 247_296, 49_280, 1_290]
    assert shapes(model) == [(None, None, 64), (None, None, 256), (None, 128), (None, 10)]
    assert model.count_params() == 361_866


def test_states(section: Any) -> None:
    model = section("states")["model"]
    assert sorted(counts(model)) == sorted([64_000, 128_000, 33_024, 33_024, 650])
    assert model.count_params() == 258_698
    assert [tuple(x.shape) for x in model.get_layer("encoder").output] == [(None, 64)] * 3
    assert model.get_layer("decoder").output.shape == (None, 64)


def test_the_decoder_starts_from_the_encoder(section: Any) -> None:
    model = section("states")["model"]
    rng = np.random.default_rng(0)
    question, other, answer = (rng.integers(1000, size=(2, 7)) for _ in range(3))
    first = model.predict([question, answer], verbose=0)
    assert first.shape == (2, 10)
    assert np.max(np.abs(first - model.predict([other, answer], verbose=0))) > 1e-4


def test_cells(section: Any) -> None:
    result = section("cells")
    assert max(result["differences"].values()) < ROUNDING
    assert set(result["differences"]) == {"kcells.RNN(LSTMCell)", "keras.layers.LSTM"}
    assert result["stack"].cell.state_size == [[10, 10], 10]
    assert tuple(result["stacked"].shape) == (8, 10)


def test_one_step_by_hand(section: Any) -> None:
    differences = section("one_step_by_hand")["differences"]
    assert len(differences) == 3
    assert max(differences.values()) < ROUNDING


def test_statefulness(section: Any) -> None:
    result = section("statefulness")
    assert len(result["differences"]) == 3
    assert max(result["differences"].values()) < ROUNDING
    assert [tuple(state.shape) for state in result["layer"].states] == [(20, 64), (20, 64)]


def test_states_are_no_weights(section: Any) -> None:
    layer = section("state_reuse")["layer"]
    assert len(layer.weights) == 3
    assert not {id(state) for state in layer.states} & {id(weight) for weight in layer.weights}


def test_state_reuse(section: Any) -> None:
    result = section("state_reuse")
    assert tuple(result["output"].shape) == (20, 64)
    assert max(result["differences"].values()) < ROUNDING


def test_both_directions(section: Any) -> None:
    result = section("both_directions")
    assert counts(result["model"]) == [38_400, 41_216, 650]
    assert shapes(result["model"]) == [(None, 5, 128), (None, 64), (None, 10)]
    assert result["model"].count_params() == 80_266
    assert list(result["shapes"].values()) == [(2, 64), *[(2, 32)] * 3, ((2, 32), (2, 32))]


def test_shape_tables(section: Any) -> None:
    one, sequence = (2, 1), (2, 3, 1)
    assert section("shape_tables")["shapes"] == {
        "lstm, no option": one,
        "lstm, return_state": (one, one, one),
        "lstm, return_sequences": sequence,
        "lstm, return_state, return_sequences": (sequence, one, one),
        "lstm cell": (one, [one, one]),
        "gru, no option": one,
        "gru, return_state": (one, one),
        "gru, return_sequences": sequence,
        "gru, return_state, return_sequences": (sequence, one),
        "gru cell": (one, one),
        "Bidirectional, lstm": (2, 2),
        "Bidirectional, gru": (2, 2),
        "Bidirectional, simple_rnn": (2, 2),
    }


def test_the_state_is_the_last_output(section: Any) -> None:
    results = section("shape_tables")["results"]
    for name in ("lstm", "gru"):
        last, state, *_ = results[f"{name}, return_state"]
        np.testing.assert_array_equal(as_numpy(last), as_numpy(state))
        sequence, state, *_ = results[f"{name}, return_state, return_sequences"]
        np.testing.assert_array_equal(as_numpy(sequence)[:, -1], as_numpy(state))
    output, (state, _) = results["lstm cell"]
    np.testing.assert_array_equal(as_numpy(output), as_numpy(state))


def test_rows_of_images(section: Any) -> None:
    result = section("rows_of_images")
    assert counts(result["mnist_model"]) == [720, 170, 0]
    assert shapes(result["mnist_model"]) == [(None, 16), (None, 10), (None, 10)]
    assert result["mnist_model"].count_params() == 890
    assert counts(result["model"]) == [16 * (8 + 16 + 1), 170, 0]
    # The book's model got 0.84 on MNIST.
    assert result["accuracy"] > 0.75
    assert result["loss"] < 1


def test_performance(section: Any) -> None:
    result = section("performance")
    assert result["difference"] < ROUNDING
    assert {type(model.layers[0].cell) for model in result["models"]} == {keras.layers.LSTMCell}
    by_name, around_cell = (model.layers[0] for model in result["models"])
    assert isinstance(by_name, keras.layers.LSTM)
    assert type(around_cell) is kcells.RNN
    # A tenth of it would be guessed right.
    assert result["accuracy"] > 0.5


def test_the_layer_may_use_a_kernel_and_the_loop_may_not(section: Any, backend: str) -> None:
    result = section("performance")
    by_name, around_cell = result["explanations"]
    assert (by_name.path, around_cell.path) == ("fused", "loop")
    kernels = {"gpu": "cudnn", "cpu": "native" if backend == "torch" else "loop"}
    assert (by_name.kernel, around_cell.kernel) == (kernels[by_name.device], "loop")
    assert result["changed"] == {
        "activation='relu'": "loop",
        "recurrent_activation='hard_sigmoid'": "loop",
        "recurrent_dropout=0.2": "loop",
        "unroll=True": "unrolled",
        "use_bias=False": "loop",
    }


def test_nested_inputs(section: Any, backend: str) -> None:
    result = section("nested_inputs")
    model = result["model"]
    assert [output.shape for output in model.outputs] == [(None, 10), (None, 20, 30)]
    assert model.count_params() == 32 * 10 + 64 * 32 * 20 * 30
    assert result["loss"][-1] < result["loss"][0]
    assert max(result["differences"].values()) < ROUNDING
    sizes = model.layers[-1].cell.state_size
    assert any(type(size).__name__ == "TensorShape" for size in sizes) == (backend == "tensorflow")


def test_every_section_is_tested_and_told(guide: ModuleType) -> None:
    for function in guide.SECTIONS:
        assert f"test_{function.__name__}" in globals()
        assert (function.__doc__ or "").count("\n\n") == 1


@pytest.mark.slow
@pytest.mark.once
def test_runs_as_a_script(examples: Any, guide: ModuleType, backend: str) -> None:
    done = subprocess.run(
        [sys.executable, str(examples.folder / "guide.py")],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    titles = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert len(titles) == len(guide.SECTIONS) == 13
