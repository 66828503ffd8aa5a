"""Which of four activities is it? One recurrent layer reads two motion sensors at once.

A time step of BasicMotions is a dict: three accelerometer and three gyroscope channels
(shipped with sktime: 40 series of 100 steps to learn from, 40 to be tested on). The
recurrent part of the model is a single layer, built by name, around a cell that takes such
dicts. The script trains it, saves it, loads it in a fresh process that has only imported
kcells, checks that the predictions are identical there, and draws how the training went.

    python examples/motion.py                                # cells side by side
    python examples/motion.py --cell nested --backend jax    # one cell for both sensors

Everything is written to out/motion-<cell>-<backend>/. The exit status is 1 if the loaded
model predicts anything else than the saved one, and 2 for a wrong option.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # Keras reads KERAS_BACKEND when it is imported. So the functions below import it,
    # once the options are known.
    import keras

BACKENDS = ("tensorflow", "jax", "torch")
SENSORS = ("accelerometer", "gyroscope")
CELLS = {"parallel": ("parallel", "mlstm", "ln_gru"), "nested": ("nested",)}
"""The choices of --cell, each with the ids of the cells that it is made of."""

STARTED = time.perf_counter()

Sequences = dict[str, np.ndarray]
"""By sensor, `(series, time, 3)`."""

RELOAD = """
import sys
import kcells
import keras
import numpy as np

model_path, inputs_path, predictions_path = sys.argv[1:]
model = keras.models.load_model(model_path)
np.save(predictions_path, model.predict(dict(np.load(inputs_path)), verbose=0))
"""
"""What the fresh process runs: no plugin is imported but by what the file asks for."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    cell: str
    backend: str
    epochs: int
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """Where the results of this run go."""
        return self.out / f"motion-{self.cell}-{self.backend}"


@dataclasses.dataclass(frozen=True)
class Data:
    """Series and labels; the labels are numbers into `names`."""

    train: tuple[Sequences, np.ndarray]
    validation: tuple[Sequences, np.ndarray]
    test: tuple[Sequences, np.ndarray]
    names: list[str]


# -- Options


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """The options of the command line; ends the process with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cell", choices=list(CELLS), default="parallel")
    parser.add_argument(
        "--backend", choices=BACKENDS, help="by default KERAS_BACKEND, or else tensorflow"
    )
    parser.add_argument("--epochs", type=_number(1, 10_000), default=25)
    parser.add_argument("--seed", type=_number(0, 2**32 - 1), default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    given = parser.parse_args(arguments)
    backend = given.backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        parser.error(f"KERAS_BACKEND is {backend!r}; choose from {', '.join(BACKENDS)}")
    if importlib.util.find_spec(backend) is None:
        parser.error(f"{backend} is not installed; pip install 'kcells[{backend}]'")
    for package in ("sktime", "sklearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed; pip install 'kcells[examples]'")
    options = Options(given.cell, backend, given.epochs, given.seed, given.out)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {given.out}: cannot make the folder {options.folder}: {error}")
    return options


def _number(least: int, most: int) -> Any:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return number


# -- Data


def load_data(seed: int) -> Data:
    """BasicMotions; a fifth of the training series is kept for validation."""
    from sklearn.model_selection import train_test_split

    series, activities = _split("train")
    names, labels = np.unique(activities, return_inverse=True)
    kept, validation = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed
    )
    test_series, test_activities = _split("test")
    return Data(
        train=(_by_sensor(series[kept]), labels[kept]),
        validation=(_by_sensor(series[validation]), labels[validation]),
        test=(_by_sensor(test_series), np.searchsorted(names, test_activities)),
        names=[str(name) for name in names],
    )


def _split(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sktime.datasets import load_basic_motions

    series, activities = load_basic_motions(split=name, return_type="numpy3D")
    return series.transpose(0, 2, 1).astype("float32"), activities


def _by_sensor(series: np.ndarray) -> Sequences:
    return dict(zip(SENSORS, np.split(series, len(SENSORS), axis=-1), strict=True))


# -- Model


def build_model(cell: str, train: Sequences, classes: int) -> keras.Model:
    """A model from raw sensor values to the probability of each activity.

    The values are standardized by a layer, with the means and variances of the training
    series, so that a saved model has them with it.
    """
    import keras
    from keras import layers

    inputs = {key: keras.Input(series.shape[1:], name=key) for key, series in train.items()}
    steps = {}
    for key, series in train.items():
        standardize = layers.Normalization(name=f"standardize_{key}")
        standardize.adapt(series)
        steps[key] = standardize(inputs[key])
    outputs = _side_by_side(steps) if cell == "parallel" else _nested(steps)
    means = [layers.GlobalAveragePooling1D()(outputs[key]) for key in SENSORS]
    features = layers.Concatenate()(means)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(features))


def _side_by_side(steps: dict[str, Any]) -> dict[str, Any]:
    """A cell for each sensor, in one loop over time."""
    import kcells

    cells = {"accelerometer": kcells.cell("mlstm", 16), "gyroscope": kcells.cell("ln_gru", 16)}
    layer: Any = kcells.build("parallel", cells, return_sequences=True)
    return dict(layer(steps))


def _nested(steps: dict[str, Any]) -> dict[str, Any]:
    """One cell that takes a vector and a matrix: the gyroscope's values as a column.

    Its outputs are linear in the step. The mean over time of what is left above zero tells
    how strong a motion is, where the mean of the outputs themselves would tell nothing.
    """
    from keras import layers

    import kcells

    matrices = {**steps, "gyroscope": layers.Reshape((-1, 3, 1))(steps["gyroscope"])}
    layer: Any = kcells.build(
        "nested", 16, 4, 4, kernel_initializer="glorot_uniform", return_sequences=True
    )
    outputs = layer(matrices)
    return {key: layers.ReLU()(layers.Reshape((-1, 16))(outputs[key])) for key in SENSORS}


def train(model: keras.Model, data: Data, epochs: int) -> dict[str, list[float]]:
    """Fits the model; the losses and accuracies of every epoch."""
    import keras

    model.compile(
        keras.optimizers.Adam(0.01, clipnorm=1.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        *data.train, batch_size=8, epochs=epochs, validation_data=data.validation, verbose=1
    )
    return dict(history.history)


# -- Saving, loading, drawing


def predict_in_fresh_process(model_path: Path, inputs: Sequences, backend: str) -> np.ndarray:
    """The predictions of the saved model, loaded by another Python."""
    with tempfile.TemporaryDirectory() as folder:
        inputs_path, predictions_path = Path(folder) / "inputs.npz", Path(folder) / "out.npy"
        np.savez(inputs_path, **inputs)  # type: ignore[arg-type]
        # -P: what lies in the current folder is not to be imported.
        command = [sys.executable, "-P", "-c", RELOAD]
        subprocess.run(  # noqa: S603  # this Python, with a text of this file
            [*command, str(model_path), str(inputs_path), str(predictions_path)],
            env={**os.environ, "KERAS_BACKEND": backend},
            check=True,
        )
        return np.asarray(np.load(predictions_path))


def draw(
    path: Path, title: str, history: dict[str, list[float]], confusion: np.ndarray, data: Data
) -> None:
    """Learning curves and the confusion matrix, in one picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (loss, accuracy, matrix) = plt.subplots(
        1, 3, figsize=(13, 4.4), layout="constrained", width_ratios=(1, 1, 1.05)
    )
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(title, fontsize="x-large")
    for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
        epochs = range(1, len(history[key]) + 1)
        label = f"train ({len(data.train[1])} series)"
        axes.plot(epochs, history[key], ".-", label=label)
        label = f"validation ({len(data.validation[1])} series)"
        axes.plot(epochs, history[f"val_{key}"], ".--", label=label)
        axes.set(title=key.capitalize(), xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    loss.set_ylim(bottom=0)
    accuracy.set_ylim(0, 1.03)
    _draw_matrix(matrix, confusion, data.names)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_matrix(axes: Any, confusion: np.ndarray, names: list[str]) -> None:
    axes.imshow(confusion, cmap="Blues", vmin=0)
    ticks = range(len(names))
    axes.set(
        title="Confusion matrix of the test series",
        xlabel="predicted",
        ylabel="true",
        xticks=ticks,
        yticks=ticks,
        xticklabels=names,
        yticklabels=names,
    )
    for row in ticks:
        for column in ticks:
            count = int(confusion[row, column])
            dark = count > confusion.max() / 2
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color="white" if dark else "black",
            )


# -- The whole


def prepare(options: Options) -> None:
    """What has to be settled before Keras is imported."""
    print(f"Importing Keras on {options.backend} ...", flush=True)
    os.environ["KERAS_BACKEND"] = options.backend
    if options.backend == "torch":
        # PyTorch would share out matrices of 16 units among threads, which costs more than it
        # wins: on a busy machine, an epoch took six times as long.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def run(options: Options) -> dict[str, Any]:
    """Trains, tests, saves, loads and draws; the summary of it."""
    import keras

    import kcells

    cells = [kcells.describe(name) for name in CELLS[options.cell]]
    keras.utils.set_random_seed(options.seed)
    data = load_data(options.seed)
    model = build_model(options.cell, data.train[0], len(data.names))
    model.summary()
    training = time.perf_counter()
    print("Training; the first epoch compiles ...", flush=True)
    history = train(model, data, options.epochs)
    trained = time.perf_counter()

    test_inputs, test_labels = data.test
    predictions = model.predict(test_inputs, verbose=0)
    predicted = np.argmax(predictions, axis=1)
    accuracy = float(np.mean(predicted == test_labels))
    confusion = np.zeros((len(data.names), len(data.names)), dtype=int)
    np.add.at(confusion, (test_labels, predicted), 1)

    files = {"model": options.folder / "model.keras", "picture": options.folder / "motion.png"}
    model.save(files["model"])
    print("Loading the model in a fresh process ...", flush=True)
    loaded = predict_in_fresh_process(files["model"], test_inputs, options.backend)
    right = f"{np.trace(confusion)} of {len(test_labels)} test series right"
    title = f'BasicMotions, cell "{options.cell}", backend {options.backend}: {right}'
    draw(files["picture"], title, history, confusion, data)

    files["summary"] = options.folder / "summary.json"
    explanations: Any = kcells.explain(model)
    summary = {
        "cells": [{"id": cell.id, "from": cell.source} for cell in cells],
        "path": [explanation.path for explanation in explanations],
        "backend": options.backend,
        "parameters": model.count_params(),
        "epochs": options.epochs,
        "seed": options.seed,
        "seconds_training": round(trained - training, 1),
        "seconds_in_all": round(time.perf_counter() - STARTED, 1),
        "test_accuracy": accuracy,
        "confusion": confusion.tolist(),
        "classes": data.names,
        "largest_difference_after_loading": float(np.max(np.abs(loaded - predictions))),
        "files": {key: str(path) for key, path in files.items()},
    }
    files["summary"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(f"\n{explanations}")
    return summary


def print_summary(summary: dict[str, Any]) -> None:
    """The summary, a line a fact."""
    cells = ", ".join(f'"{cell["id"]}" ({cell["from"]})' for cell in summary["cells"])
    rows = {
        "cells": cells,
        "path": ", ".join(summary["path"]),
        "backend": summary["backend"],
        "parameters": f"{summary['parameters']:,}",
        "training": f"{summary['seconds_training']} s, epochs: {summary['epochs']}",
        "in all": f"{summary['seconds_in_all']} s",
        "test accuracy": f"{summary['test_accuracy']:.1%}",
        "loaded in a fresh process": "largest difference of the predictions "
        f"{summary['largest_difference_after_loading']:g}",
        **summary["files"],
    }
    print("\nSummary")
    for name, value in rows.items():
        print(f"  {name:<26}{value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; the exit status."""
    options = read_options(arguments)
    prepare(options)
    from kcells.errors import KCellsError

    try:
        summary = run(options)
    except KCellsError as error:
        print(f"motion.py: {error}", file=sys.stderr)
        return 1
    print_summary(summary)
    if summary["largest_difference_after_loading"] != 0:
        print("The loaded model predicts something else than the saved one.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
