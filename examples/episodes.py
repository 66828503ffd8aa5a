"""Episodes that end anywhere: a memory that starts anew in the middle of a chunk.

As in reinforcement learning, 64 environments run on and on, and what they give is learned from in
chunks of 32 steps. Each step shows a symbol, and the right answer is the first symbol of the
episode. Nothing that a step shows tells where an episode begins: only the environment says so. Most
episodes begin in one chunk and end in another, so the layer remembers from chunk to chunk
(`stateful=True`); and with `reset=` it forgets at the first step of each episode.

The same model is trained three ways: with resets; without; and without, but with the flag as one
more feature, so that forgetting is something to be learned. The picture shows how often each of
them is right while it learns, and what each says in a stretch of one environment.

    python examples/episodes.py --backend torch            # --cell, --epochs, --seed, --out

Everything is written to out/episodes-<cell>-<backend>/. The exit status is 2 for a wrong option.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SYMBOLS, ENVIRONMENTS, CHUNK = 6, 64, 32
SHORTEST, LONGEST = 4, 60
"""Of an episode, in steps."""
CHUNKS = {"train": 40, "test": 12}
WAYS = {
    "with resets": "reset",
    "the flag as a feature": "feature",
    "without resets": "nothing",
}


class Stream(NamedTuple):
    """What the environments give; all `(environments, time)`.

    Attributes:
        symbols: the one that a step shows.
        begins: whether an episode begins at a step.
        answers: the first symbol of the episode.
    """

    symbols: np.ndarray
    begins: np.ndarray
    answers: np.ndarray


def make_stream(rng: np.random.Generator, time: int) -> Stream:
    """Episodes of random lengths, one after the other, in every environment."""
    symbols = rng.integers(0, SYMBOLS, (ENVIRONMENTS, time))
    begins = np.zeros((ENVIRONMENTS, time), bool)
    for row in begins:
        lengths = rng.integers(SHORTEST, LONGEST + 1, time // SHORTEST + 1)
        starts = np.cumsum(lengths) - lengths
        row[starts[starts < time]] = True
    steps = np.arange(time)
    first = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
    return Stream(symbols, begins, np.take_along_axis(symbols, first, axis=1))


def in_chunks(stream: Stream, way: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs and answers as `fit` takes them: batch k is chunk k of all environments."""

    def cut(array: np.ndarray) -> np.ndarray:
        chunks = array.shape[1] // CHUNK
        return np.concatenate(np.split(array[:, : chunks * CHUNK], chunks, axis=1))

    seen = np.eye(SYMBOLS, dtype="float32")[stream.symbols]
    if way == "feature":
        seen = np.concatenate([seen, stream.begins[..., None].astype("float32")], axis=-1)
    inputs = {"seen": cut(seen)}
    if way == "reset":
        inputs["begins"] = cut(stream.begins)
    return inputs, cut(stream.answers)


def build_model(cell: str, way: str) -> Any:
    """From what a step shows to what the first step of the episode has shown."""
    import keras

    import kcells

    seen = keras.Input(batch_shape=(ENVIRONMENTS, CHUNK, SYMBOLS + (way == "feature")), name="seen")
    inputs, resets = {"seen": seen}, {}
    if way == "reset":
        begins = keras.Input(batch_shape=(ENVIRONMENTS, CHUNK), dtype="bool", name="begins")
        inputs["begins"] = resets["reset"] = begins
    layer = kcells.build(cell, 64, return_sequences=True, stateful=True, name="memory")
    model = keras.Model(inputs, keras.layers.Dense(SYMBOLS)(layer(seen, **resets)))
    model.compile(
        keras.optimizers.Adam(0.005),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def learn(
    cell: str, way: str, train: Stream, test: Stream, epochs: int
) -> tuple[list[float], np.ndarray]:
    """How often a model is right in each epoch, and then says what for the test stream."""
    model = build_model(cell, way)
    memory = model.get_layer("memory")
    inputs, answers = in_chunks(train, way)
    shares = []
    for epoch in range(1, epochs + 1):
        memory.reset_state()  # an epoch begins the streams from the start
        history = model.fit(inputs, answers, batch_size=ENVIRONMENTS, shuffle=False, verbose=0)
        shares += history.history["accuracy"]
        print(f"  epoch {epoch:>2}: {shares[-1]:.1%} right in training", flush=True)
    memory.reset_state()
    logits = model.predict(in_chunks(test, way)[0], batch_size=ENVIRONMENTS, verbose=0)
    said = np.argmax(logits, axis=-1)
    return shares, np.concatenate(np.split(said, len(said) // ENVIRONMENTS), axis=1)


def draw(
    path: Path, shares: dict[str, list[float]], said: dict[str, np.ndarray], test: Stream
) -> None:
    """How often each way is right while it learns, and what each says in one environment."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (curves, rows) = plt.subplots(1, 2, figsize=(13, 4.2), layout="constrained")
    for name, of_epochs in shares.items():
        curves.plot(range(1, len(of_epochs) + 1), of_epochs, marker=".", label=name)
    curves.axhline(1 / SYMBOLS, color="grey", linestyle=":", label="guessing")
    curves.set(title="Share of right answers in training", xlabel="epoch", ylim=(0, 1.03))
    curves.legend(loc="center right")
    shown = slice(0, 4 * CHUNK)
    lines = {"first symbol": test.answers, **said}
    rows.imshow(
        np.array([line[0, shown] for line in lines.values()]),
        aspect="auto",
        cmap="Set2",
        vmin=0,
        vmax=7,
        interpolation="none",
    )
    rows.set_yticks(range(len(lines)), list(lines))
    for step in np.flatnonzero(test.begins[0, shown]):
        rows.axvline(step - 0.5, color="black", label="an episode begins")
    for step in range(CHUNK, 4 * CHUNK, CHUNK):
        rows.axvline(step - 0.5, color="black", linestyle=":", label="a chunk begins")
    rows.set(title="Answers in one environment, a colour a symbol", xlabel="step")
    handles, labels = rows.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    rows.legend(known.values(), known, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains the three models, tests and draws; the summary of it."""
    import keras

    folder = options.out / f"episodes-{options.cell}-{options.backend}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    train, test = (make_stream(rng, chunks * CHUNK) for chunks in CHUNKS.values())
    shares, said = {}, {}
    for name, way in WAYS.items():
        keras.utils.set_random_seed(options.seed)
        print(f"Training {name} ...", flush=True)
        shares[name], said[name] = learn(options.cell, way, train, test, options.epochs)
    draw(folder / "episodes.png", shares, said, test)
    summary = {
        "cell": options.cell,
        "backend": options.backend,
        "epochs": options.epochs,
        "guessing": round(1 / SYMBOLS, 4),
        "test_accuracy": {
            name: round(float(np.mean(answers == test.answers)), 4)
            for name, answers in said.items()
        },
        "picture": str(folder / "episodes.png"),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line; ends the process with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cell", default="gru", help="any cell that takes the number of units")
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    given = parser.parse_args(arguments)
    given.backend = given.backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if given.epochs < 1:
        parser.error("--epochs has to be at least 1")
    for package in (given.backend, "matplotlib"):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed; pip install 'kcells[examples]'")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; the exit status."""
    options = read_options(arguments)
    os.environ["KERAS_BACKEND"] = options.backend
    summary = run(options)
    print("\nSummary")
    for name, value in summary.items():
        print(f"  {name.replace('_', ' '):<16}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
