"""A model learns from whole series, and is then fed sample by sample, without Keras.

A recurrent layer by name reads the two motion sensors of BasicMotions at once (see motion.py) and
is trained in one go. `kcells.to_streaming` makes a model of one time step of it, with the states
going in and coming out; that is exported, and the file is run by its runtime alone: what a device
would do that gets a sample every hundredth of a second. After each sample it says what it would
say if the series ended there.

    python examples/streaming.py                      # onnxruntime
    python examples/streaming.py --format litert      # the interpreter of LiteRT; on TensorFlow

Everything is written to out/streaming-<format>-<backend>/. The exit status is 1 if the file says
anything else at the end of a series than `predict` does, and 2 for a wrong option.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import motion  # the data, and how they are split

RUNTIMES = {"onnx": ("onnxruntime", ".onnx"), "litert": ("ai_edge_litert", ".tflite")}
"""What runs a file of each format, and how the file is called."""

Step = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""One step of a file: named arrays in, named arrays out."""


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line; ends the process with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", choices=list(RUNTIMES), default="onnx")
    parser.add_argument("--backend", choices=("tensorflow", "torch"), help="by default tensorflow")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    given = parser.parse_args(arguments)
    given.backend = given.backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if given.backend == "jax" or (given.format == "litert" and given.backend != "tensorflow"):
        parser.error(f"on {given.backend} Keras writes no file in the format {given.format}")
    if given.epochs < 1:
        parser.error("--epochs has to be at least 1")
    for package in (given.backend, RUNTIMES[given.format][0], "sktime", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed; pip install 'kcells[examples,export]'")
    return given


def standardized(data: motion.Data) -> motion.Data:
    """The series with the mean and the variance of the training series taken out.

    Not by a layer: what Keras' `Normalization` keeps becomes inputs of a file for ONNX.
    """
    numbers = {
        key: (series.mean(axis=(0, 1)), series.std(axis=(0, 1)))
        for key, series in data.train[0].items()
    }

    def scaled(part: tuple[motion.Sequences, np.ndarray]) -> tuple[motion.Sequences, np.ndarray]:
        return {key: (x - numbers[key][0]) / numbers[key][1] for key, x in part[0].items()}, part[1]

    return motion.Data(scaled(data.train), scaled(data.validation), scaled(data.test), data.names)


def build_model(train: motion.Sequences, classes: int) -> Any:
    """From sensor values to the probability of each activity, by one recurrent layer."""
    import keras
    from keras import layers

    import kcells

    inputs = {key: keras.Input((None, series.shape[-1]), name=key) for key, series in train.items()}
    cells = {key: kcells.cell("gru", 24) for key in inputs}
    last: Any = kcells.build("parallel", cells, name="sensors")(inputs)
    both = layers.Concatenate()([last[key] for key in sorted(last)])
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(both))


def load_step(form: str, path: Path) -> Step:
    """One step of a file, by its runtime."""
    if form == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a step is small
        session = onnxruntime.InferenceSession(str(path), options)
        return lambda given: {"": session.run(None, given)}
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner()
    return lambda given: dict(run(**given))


def stream(
    step: Step, names: tuple[list[str], list[str]], states: dict[str, np.ndarray], series: Any
) -> tuple[np.ndarray, list[float]]:
    """Feeds a series sample by sample.

    Args:
        step: one step of the file.
        names: of its outputs, in order, and of its states among the inputs.
        states: the states to start from.
        series: by sensor, `(time, 3)`.

    Returns:
        The probabilities after each sample, and how many seconds each step took.
    """
    outputs, of_states = names
    said, seconds = [], []
    for k in range(len(next(iter(series.values())))):
        sample = {key: values[k : k + 1] for key, values in series.items()}
        began = time.perf_counter()
        result: Any = step({**sample, **states})
        # ONNX gives a list in the order of the names, LiteRT a dict.
        result = dict(zip(outputs, result[""], strict=True)) if "" in result else result
        states = {name: result[f"next_{name}"] for name in of_states}
        seconds.append(time.perf_counter() - began)
        said.append(result["outputs"][0])
    return np.array(said), seconds


def draw(path: Path, said: np.ndarray, labels: np.ndarray, names: list[str], times: Any) -> None:
    """How sure the model grows of each activity, and how long a step takes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (growth, bars) = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    for label, name in enumerate(names):
        of_class = said[labels == label][:, :, label]
        growth.plot(np.arange(1, said.shape[1] + 1), of_class.mean(axis=0), label=name)
    growth.set(
        title="Probability of the right activity, mean of the test series",
        xlabel="samples so far",
        ylim=(0, 1.03),
    )
    growth.grid(alpha=0.3)
    growth.legend()
    kinds = list(times)
    for offset, (what, share) in ((-0.2, ("median", 50)), (0.2, ("99th percentile", 99))):
        heights = [np.percentile(times[kind], share) * 1e3 for kind in kinds]
        drawn = bars.bar(np.arange(len(kinds)) + offset, heights, 0.38, label=what)
        bars.bar_label(drawn, fmt="%.3g")
    bars.set(title="Milliseconds until there is an answer", yscale="log")
    bars.set_xticks(range(len(kinds)), kinds)
    bars.margins(y=0.15)
    bars.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains, exports, streams and draws; the summary of it."""
    import keras

    import kcells

    folder = options.out / f"streaming-{options.format}-{options.backend}"
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    data = standardized(motion.load_data(options.seed))
    model = build_model(data.train[0], len(data.names))
    print("Training on whole series ...", flush=True)
    motion.train(model, data, options.epochs)

    streaming = kcells.to_streaming(model)
    path = folder / f"step{RUNTIMES[options.format][1]}"
    streaming.export(str(path), format=options.format, verbose=False)
    step, flat = load_step(options.format, path), streaming.flat()
    of_states = [name for name in flat.input if f"next_{name}" in flat.output]
    first = {
        spec.name: keras.ops.convert_to_numpy(leaf)
        for spec, leaf in zip(
            keras.tree.flatten(streaming.input["states"]),
            keras.tree.flatten(streaming.initial_states(1)),
            strict=True,
        )
    }
    print(f"Feeding {path.name} sample by sample ...", flush=True)
    inputs, labels = data.test
    said, of_steps, of_windows = [], [], []
    for k in range(len(labels)):
        series = {key: values[k] for key, values in inputs.items()}
        answers, seconds = stream(step, (sorted(flat.output), of_states), first, series)
        said.append(answers)
        of_steps += seconds
    for k in range(-2, len(labels)):  # the first ones compile
        window = {key: values[abs(k) : abs(k) + 1] for key, values in inputs.items()}
        began = time.perf_counter()
        model.predict_on_batch(window)
        of_windows += [time.perf_counter() - began] if k >= 0 else []
    whole, found = model.predict(inputs, verbose=0), np.array(said)
    draw(
        folder / "streaming.png",
        found,
        labels,
        data.names,
        {
            f"one step of {path.name}": of_steps,
            "predict of the whole window,\nonce a sample": of_windows,
        },
    )
    right = [np.argmax(of, axis=-1) == labels for of in (found[:, -1], whole)]
    summary = {
        "format": options.format,
        "backend": options.backend,
        "test_accuracy_of_the_file": float(np.mean(right[0])),
        "test_accuracy_of_predict": float(np.mean(right[1])),
        "largest_difference": float(np.abs(found[:, -1] - whole).max()),
        "kilobytes": round(path.stat().st_size / 1e3, 1),
        "milliseconds_a_step": _spread(of_steps),
        "milliseconds_of_predict": _spread(of_windows),
        "files": {"model": str(path), "picture": str(folder / "streaming.png")},
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _spread(seconds: list[float]) -> dict[str, float]:
    shares = (("median", 50), ("99th percentile", 99))
    return {name: round(float(np.percentile(seconds, s)) * 1e3, 4) for name, s in shares}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; the exit status."""
    options = read_options(arguments)
    os.environ["KERAS_BACKEND"] = options.backend
    summary = run(options)
    print("\nSummary")
    for name, value in summary.items():
        print(f"  {name.replace('_', ' '):<28}{value}")
    if summary["largest_difference"] > 1e-4:
        print("The file says something else than the model.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
