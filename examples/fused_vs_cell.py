"""What does a fused kernel save? An LSTM layer, and the same LSTM cell in a loop.

Both read scikit-learn's digits, 8 rows of 8, from top to bottom. `kcells.build("lstm", 64)`
may hand the whole sequence to a kernel; with `dispatch="never"` the cell takes one step at a
time. With the same weights they predict the same, which is checked; and both are trained, from
the same start and on the same batches. What differs is the time. An epoch of the one is timed
right beside an epoch of the other, in an order that alternates, and the ratio is the median
over the pairs. The first pair, in which backends compile, does not count.

    python examples/fused_vs_cell.py
    python examples/fused_vs_cell.py --backend torch --steps 64     # pixel by pixel
    python examples/fused_vs_cell.py --quick                        # to try the script

At the end some of the images lose their first rows, and a mask says so: padding on the left,
for which no kernel is made, and which kcells brings into a form that they take.

Everything is written to out/fused-vs-cell-<backend>/. The exit status is 1 if the two
disagree, and 2 for a wrong option.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # Keras reads KERAS_BACKEND when it is imported. So the functions below import it,
    # once the options are known.
    import keras

    import kcells

BACKENDS = ("tensorflow", "jax", "torch")
DISPATCH: dict[str, Any] = {"fused": "auto", "cell": "never"}
"""The two sides, and what `kcells.build` is told for each."""

PADDING = -1.0
"""What stands in a step that does not count; pixels are from 0 to 1."""

TOLERANCE = {"cpu": 1e-4, "gpu": 1e-2}
"""How far apart two predictions may be that are the same: a GPU may round the factors of
float32 products to 10 bits (TF32), and not in every kernel."""

Labelled = tuple[np.ndarray, np.ndarray]
"""Images `(samples, steps, pixels a step)` and the digits on them."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    backend: str
    epochs: int
    units: int
    steps: int
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """Where the results of this run go."""
        return self.out / f"fused-vs-cell-{self.backend}"


# -- Options


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """The options of the command line; ends the process with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--backend", choices=BACKENDS, help="by default KERAS_BACKEND, or else tensorflow"
    )
    parser.add_argument("--epochs", type=_number(1, 10_000), help="pairs that count, or else 10")
    parser.add_argument("--units", type=_number(1, 10_000), help="of the LSTM, or else 64")
    parser.add_argument(
        "--steps", type=int, choices=(8, 16, 32, 64), default=8, help="8: by rows, 64: by pixels"
    )
    parser.add_argument("--quick", action="store_true", help="3 epochs of 32 units by default")
    parser.add_argument("--seed", type=_number(0, 2**32 - 1), default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    given = parser.parse_args(arguments)
    backend = given.backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        parser.error(f"KERAS_BACKEND is {backend!r}; choose from {', '.join(BACKENDS)}")
    if importlib.util.find_spec(backend) is None:
        parser.error(f"{backend} is not installed; pip install 'kcells[{backend}]'")
    for package in ("sklearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed; pip install 'kcells[examples]'")
    epochs, units = (3, 32) if given.quick else (10, 64)
    options = Options(
        backend, given.epochs or epochs, given.units or units, given.steps, given.seed, given.out
    )
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


# -- Data and models


def load_data(steps: int) -> tuple[Labelled, Labelled]:
    """The digits, four fifths to learn from and one to be tested on."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.data / 16).astype("float32").reshape(len(digits.data), steps, -1)
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def build_models(units: int, step: tuple[int, int]) -> dict[str, keras.Model]:
    """A model a side, with the same weights; `step` is `(steps, pixels a step)`."""
    import keras

    import kcells

    models = {}
    for side, dispatch in DISPATCH.items():
        models[side] = keras.Sequential(
            [
                keras.Input(step),
                kcells.build("lstm", units, dispatch=dispatch, name=f"{side}_lstm"),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        models[side].compile(
            keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
    models["cell"].set_weights(models["fused"].get_weights())
    return models


# -- Comparing


def train(
    models: dict[str, keras.Model], data: Labelled, epochs: int, seed: int
) -> dict[str, list[float]]:
    """Trains all models on the same batches; the seconds of every epoch, the first included."""
    images, labels = data
    random = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {side: [] for side in models}
    for epoch in range(epochs + 1):
        order = random.permutation(len(labels))
        for side in sorted(models, reverse=epoch % 2 == 1):
            start = time.perf_counter()
            models[side].fit(images[order], labels[order], batch_size=32, shuffle=False, verbose=0)
            seconds[side].append(time.perf_counter() - start)
        shown = ", ".join(f"{side} {1000 * times[-1]:.0f} ms" for side, times in seconds.items())
        print(f"  epoch {epoch}: {shown}{'' if epoch else ' (does not count)'}", flush=True)
    return seconds


def speedup(seconds: dict[str, list[float]]) -> float:
    """How many times as long the cell takes: the median over all pairs but the first."""
    pairs = zip(seconds["cell"][1:], seconds["fused"][1:], strict=True)
    return statistics.median(cell / fused for cell, fused in pairs)


def difference(models: dict[str, keras.Model], images: np.ndarray) -> float:
    """The largest difference between what the two predict."""
    fused, cell = (models[side].predict(images, verbose=0) for side in DISPATCH)
    return float(np.max(np.abs(fused - cell)))


def without_first_steps(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images with padding for their first steps, up to half of them; how many in each."""
    _, steps, _ = images.shape
    lost = np.arange(len(images)) % 5 * (steps // 8)
    padded = np.where(np.arange(steps)[:, None] < lost[:, None, None], PADDING, images)
    return padded.astype("float32"), lost


def compare_masked(models: dict[str, keras.Model], images: np.ndarray) -> dict[str, Any]:
    """The trained layers on left-padded images: differences, and what `explain` says."""
    import keras

    import kcells

    padded, lost = without_first_steps(images)
    outputs, explanations = {}, {}
    for side, model in models.items():
        masking = keras.layers.Masking(PADDING)
        masked = keras.Sequential([keras.Input(images.shape[1:]), masking, model.layers[0]])
        outputs[side] = keras.ops.convert_to_numpy(masked(padded))
        found: Any = kcells.explain(masked, padded)
        (explanations[side],) = found
    alone = np.zeros_like(outputs["fused"])
    for count in np.unique(lost):
        rest = models["fused"].layers[0](images[lost == count][:, count:])
        alone[lost == count] = keras.ops.convert_to_numpy(rest)
    return {
        "fused, cell": float(np.max(np.abs(outputs["fused"] - outputs["cell"]))),
        "fused, without the padding": float(np.max(np.abs(outputs["fused"] - alone))),
        "explanations": explanations,
    }


# -- Drawing


def draw(path: Path, title: str, seconds: dict[str, list[float]], summary: dict[str, Any]) -> None:
    """Times and accuracies as bars, with a dot for every epoch that counts."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    labels = [f"{side}\npath {s['path']}, kernel {s['kernel']}" for side, s in summary.items()]
    times = [[1000 * s for s in seconds[side][1:]] for side in summary]
    medians = [statistics.median(side) for side in times]
    accuracies = [100 * side["accuracy"] for side in summary.values()]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    figure.suptitle(title, fontsize="large")
    colors = ["tab:blue", "tab:orange"]
    left.bar(labels, medians, color=colors, width=0.6)
    for place, side in enumerate(times):
        spread = place + np.linspace(-0.2, 0.2, len(side))
        left.plot(spread, side, "o", color="black", alpha=0.5, markersize=4)
    highest = max(max(side) for side in times)
    left.set(title="An epoch (bar: median, dot: one epoch)", ylabel="milliseconds")
    left.set_ylim(0, 1.15 * highest)
    right.bar(labels, accuracies, color=colors, width=0.6)
    right.set(title="Accuracy on the test images", ylabel="percent", ylim=(0, 108))
    right.axhline(10, color="gray", linestyle=":")
    right.text(0.5, 11, "guessing", color="gray", ha="center", va="bottom", fontsize="small")
    for axes, heights, unit in ((left, medians, " ms"), (right, accuracies, "%")):
        for place, height in enumerate(heights):
            shown = f"{height:.0f}{unit}" if unit == " ms" else f"{height:.1f}{unit}"
            axes.text(place, height / 2, shown, ha="center", color="white", weight="bold")
    figure.savefig(path, dpi=120)
    plt.close(figure)


# -- The whole


def prepare(options: Options) -> None:
    """What has to be settled before Keras is imported."""
    print(f"Importing Keras on {options.backend} ...", flush=True)
    os.environ["KERAS_BACKEND"] = options.backend
    if options.backend == "torch":
        # For both sides: products this small cost more to share out than to compute.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def run(options: Options) -> dict[str, Any]:
    """Compares, trains, compares again and draws; the summary of it."""
    import keras

    import kcells

    keras.utils.set_random_seed(options.seed)
    training, (images, labels) = load_data(options.steps)
    models = build_models(options.units, images.shape[1:])
    differences = {"before the training": difference(models, images)}
    print(f"Training on {len(training[1])} images of {options.steps} steps ...")
    seconds = train(models, training, options.epochs, options.seed)
    sides: dict[str, Any] = {}
    for side, model in models.items():
        explanation: Any = kcells.explain(model.layers[0])
        print(f"\n{explanation if side == 'fused' else in_short(explanation)}")
        sides[side] = {
            "path": explanation.path,
            "kernel": explanation.kernel,
            "device": explanation.device,
            "seconds_an_epoch": statistics.median(seconds[side][1:]),
            "seconds_first_epoch": seconds[side][0],
            "accuracy": model.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"],
        }
    # Rounding grows while they learn, so one gets the weights of the other again.
    models["cell"].set_weights(models["fused"].get_weights())
    differences["with the trained weights"] = difference(models, images)

    masked = compare_masked(models, images)
    print("\nWith padding on the left:")
    print(in_short(masked["explanations"]["fused"]))
    differences["under a mask"] = masked["fused, cell"]
    differences["mask, against no padding"] = masked["fused, without the padding"]

    ratio = speedup(seconds)
    files = {key: options.folder / f"fused_vs_cell.{key}" for key in ("png", "json")}
    machine = f"{options.backend} on {sides['fused']['device']}"
    title = f"LSTM of {options.units} units, digits in {options.steps} steps, {machine}\n"
    draw(files["png"], title + verdict(sides, ratio), seconds, sides)
    summary = {
        "backend": options.backend,
        "units": options.units,
        "steps": options.steps,
        "epochs": options.epochs,
        "sides": sides,
        "times_as_fast": ratio,
        "differences": differences,
        "masked_path": {side: e.path for side, e in masked["explanations"].items()},
        "masked_kernel": {side: e.kernel for side, e in masked["explanations"].items()},
        "seconds": seconds,
        "files": {key: str(path) for key, path in files.items()},
    }
    files["json"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def in_short(explanation: kcells.Explanation) -> str:
    """The path, and only the conditions that do not hold."""
    against = tuple(reason for reason in explanation.reasons if not reason.holds)
    return str(dataclasses.replace(explanation, reasons=against))


def verdict(sides: dict[str, Any], ratio: float) -> str:
    """What the ratio means on this machine."""
    if sides["fused"]["kernel"] == "loop":
        return f"there is no kernel here, both run the same loop: {ratio:.2f} to 1"
    return f"the kernel {sides['fused']['kernel']} is {ratio:.2f} times as fast as the loop"


def print_summary(summary: dict[str, Any]) -> None:
    """The summary, a line a fact."""
    print(f"\n{'Summary':<28}{'fused':>12}{'cell':>12}")
    sides = [summary["sides"][side] for side in DISPATCH]
    rows = {
        "path": [side["path"] for side in sides],
        "kernel": [side["kernel"] for side in sides],
        "an epoch": [f"{1000 * side['seconds_an_epoch']:.0f} ms" for side in sides],
        "the first one": [f"{side['seconds_first_epoch']:.1f} s" for side in sides],
        "test accuracy": [f"{side['accuracy']:.1%}" for side in sides],
    }
    for name, (fused, cell) in rows.items():
        print(f"  {name:<26}{fused:>12}{cell:>12}")
    print("Largest differences of what the two predict")
    for name, value in summary["differences"].items():
        print(f"  {name:<26}{value:12.1e}")
    result = verdict(summary["sides"], summary["times_as_fast"])
    print(f"Median of {summary['epochs']} pairs: {result}")
    for path in summary["files"].values():
        print(f"  {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; the exit status."""
    options = read_options(arguments)
    prepare(options)
    summary = run(options)
    print_summary(summary)
    allowed = TOLERANCE[summary["sides"]["fused"]["device"]]
    # Not by the maximum, which may pass over a NaN.
    if not all(value <= allowed for value in summary["differences"].values()):
        print(f"They disagree by more than {allowed:g}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
