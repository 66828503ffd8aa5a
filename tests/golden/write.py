"""Writes the golden files of the installed version; see README.md. No test runs this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from cells import GoldenCell

import kcells

HERE = Path(__file__).parent
# Not the default, an orthogonal matrix: JAX takes seconds to compile it, and every load of
# a file runs the initializers that it names.
QUICK = {"recurrent_initializer": "glorot_uniform"}


def nested() -> keras.Model:
    """Dicts everywhere, a mask in one branch, and the states as outputs."""
    inputs = {
        "pen": keras.Input((6, 3), name="pen"),
        "force": keras.Input((6, 1), name="force"),
    }
    masked = {"pen": keras.layers.Masking()(inputs["pen"]), "force": inputs["force"]}
    layer = kcells.RNN(GoldenCell(4, rate=0.25), return_sequences=True, return_state=True)
    return keras.Model(inputs, layer(masked))


def stack_both_ways() -> keras.Model:
    """Bidirectional around a stack of built-in cells, behind a mask."""
    inputs = keras.Input((None, 3))
    masked = keras.layers.Masking()(inputs)
    stacked = kcells.build(["lstm", "gru"], 4, return_sequences=True, **QUICK)
    return keras.Model(inputs, kcells.Bidirectional(stacked, merge_mode="concat")(masked))


def options() -> keras.Model:
    """Options that change what a layer computes, in a sequence of layers."""
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            keras.layers.Masking(),
            kcells.RNN(
                keras.layers.LSTMCell(5, **QUICK),
                return_sequences=True,
                go_backwards=True,
                zero_output_for_mask=True,
            ),
            kcells.build("simple_rnn", 4, **QUICK),
            keras.layers.Dense(2),
        ]
    )


def built_ins() -> keras.Model:
    """The built-in layers that stand in for their cells."""
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            keras.layers.Masking(),
            kcells.build("lstm", 4, return_sequences=True, **QUICK),
            kcells.build("gru", 3, dispatch="never", **QUICK),
        ]
    )


def ways() -> keras.Model:
    """Every option that says how a loop is run."""
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            kcells.build("gru", 4, return_sequences=True, checkpoint=2, compile="never", **QUICK),
            kcells.build("simple_rnn", 3, tbptt=2, parallel="never", **QUICK),
        ]
    )


def inputs_of(make: Callable[[], keras.Model]) -> dict[str, np.ndarray]:
    """Inputs by name; the second sequence has a hole and an end that are masked."""
    rng = np.random.default_rng(20260101)
    pen = rng.normal(size=(3, 6, 3)).astype("float32")
    pen[1, 2] = pen[1, 5] = pen[2, 0] = 0.0
    force = rng.normal(size=(3, 6, 1)).astype("float32")
    return {"pen": pen, "force": force} if make is nested else {"inputs": pen}


def write(make: Callable[[], keras.Model], folder: Path) -> None:
    """Writes `<name>.keras` and `<name>.npz`."""
    file = folder / f"{make.__name__}.keras"
    if file.exists():
        raise SystemExit(f"{file} exists. Golden files are never regenerated.")
    keras.utils.set_random_seed(20260101)
    model, named = make(), inputs_of(make)
    inputs: Any = named if make is nested else named["inputs"]
    outputs = keras.tree.flatten(model(inputs))
    content = {f"input_{name}": value for name, value in named.items()}
    for k, output in enumerate(outputs):
        content[f"output_{k}"] = keras.ops.convert_to_numpy(output)
    model.save(file)
    np.savez(file.with_suffix(".npz"), **content)


def main() -> None:
    if keras.backend.backend() != "tensorflow":
        raise SystemExit("Golden files are written on the TensorFlow backend.")
    folder = HERE / kcells.__version__
    folder.mkdir(exist_ok=True)
    for make in (nested, stack_both_ways, options, built_ins, ways):
        write(make, folder)


if __name__ == "__main__":
    main()
