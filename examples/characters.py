"""A model of Python's help texts, character by character, that writes on from a prompt.

The multiplicative LSTM was made for this: which character comes next, given all before it. It is
trained on the 465,000 characters that `help("assert")` and its like show. `kcells.to_streaming`
makes a model of one time step of it, which reads the prompt, and `kcells.generate` feeds it with
what it has said; text appears in the terminal as it is written. The rest compares ways to choose
the next character: how likely the model itself finds what comes out, beside the help texts.

    python examples/characters.py
    python examples/characters.py --prompt "The keyword " --temperature 0.5 --length 2000
    python examples/characters.py --cell gru --backend jax
    python examples/characters.py --quick                        # to try the script

Everything is written to out/characters-<backend>/. The exit status is 2 for a wrong option.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
WINDOW = 64
"""How many characters a training sequence has."""

HELD_OUT = 40_000
"""How many characters, from the end of the texts, the model is not trained on."""

PIECE = 16
"""How many characters are written at once, by one call of a compiled loop."""


class Alphabet:
    """Characters and their ids."""

    def __init__(self, text: str) -> None:
        self.characters = sorted(set(text))
        self._ids = {character: k for k, character in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def ids(self, text: str) -> np.ndarray:
        """The ids of a text; a character that the texts do not have is left out."""
        return np.array([self._ids[c] for c in text if c in self._ids], "int32")

    def text(self, ids: Any) -> str:
        """The text of ids."""
        return "".join(self.characters[k] for k in np.asarray(ids).ravel())


# -- Options


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line; ends the process with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompt", default="The statement ", help="what the text begins with")
    parser.add_argument("--length", type=int, default=600, help="characters to write")
    parser.add_argument("--temperature", type=float, default=0.7, help="below 1: more careful")
    parser.add_argument("--cell", default="mlstm", help="id of the recurrent cell")
    parser.add_argument("--epochs", type=int, help="or else 5")
    parser.add_argument("--units", type=int, help="of the cell, or else 192")
    parser.add_argument("--backend", choices=BACKENDS, help="KERAS_BACKEND, or else tensorflow")
    parser.add_argument("--quick", action="store_true", help="one epoch of 32 units, of less text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    given = parser.parse_args(arguments)
    given.backend = given.backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    given.epochs = given.epochs if given.epochs is not None else 1 if given.quick else 5
    given.units = given.units if given.units is not None else 32 if given.quick else 192
    for name in ("length", "epochs", "units"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} has to be at least 1")
    if not given.temperature > 0:
        parser.error("--temperature has to be above 0")
    if not given.prompt:
        parser.error("--prompt has to have a character to begin with")
    for package in (given.backend, "matplotlib"):
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed; pip install 'kcells[examples]'")
    return given


# -- The model


def windows(ids: np.ndarray, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences, and what comes next at each of their steps; both `(windows, WINDOW)`."""
    count = (len(ids) - first - 1) // WINDOW
    both = (ids[first + k : first + k + count * WINDOW] for k in (0, 1))
    here, following = (part.reshape(count, WINDOW) for part in both)
    return here, following


def build_model(cell: str, units: int, characters: int, steps: int = 1) -> Any:
    """From ids to the logits of the next one, at every step; to be trained for some steps."""
    import keras

    import kcells

    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(characters, 32),
            kcells.build(cell, units, return_sequences=True, name="memory"),
            keras.layers.Dense(characters),
        ]
    )
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(5e-3, steps, alpha=0.05), clipnorm=1.0
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def train(
    model: Any, ids: np.ndarray, held_out: np.ndarray, epochs: int, batch: int
) -> dict[str, list[float]]:
    """Trains with `fit`; the bits a character after each epoch, on both texts."""
    bits: dict[str, list[float]] = {"training": [], "held out": []}
    for epoch in range(epochs):
        # Windows begin elsewhere each time.
        began, (here, following) = time.perf_counter(), windows(ids, 17 * epoch % WINDOW)
        loss = model.fit(here, following, batch_size=batch, verbose=0).history["loss"][0]
        bits["training"].append(loss / np.log(2))
        bits["held out"].append(model.evaluate(*windows(held_out), verbose=0) / np.log(2))
        print(
            f"  epoch {epoch + 1}: {bits['held out'][-1]:.2f} bits a character,"
            f" {time.perf_counter() - began:.0f} s",
            flush=True,
        )
    return bits


# -- Writing


def read(stream: Any, ids: np.ndarray) -> Any:
    """The states of a model of one time step after some ids."""
    states = stream.initial_states(1)
    for k in ids:
        states = stream({"inputs": np.array([k], "int32"), "states": states})["states"]
    return states


def written(stream: Any, prompt: np.ndarray, length: int, choose: Any) -> Iterator[np.ndarray]:
    """The ids that follow a prompt, a few at a time, each from the states of those before."""
    import keras

    import kcells

    states, last = read(stream, prompt[:-1]), prompt[-1:]
    for begin in range(0, length, PIECE):
        result = kcells.generate(stream, states, last, PIECE, choose=choose)
        ids = keras.ops.convert_to_numpy(result.outputs)[0]
        states, last = result.states, ids[-1:]
        yield ids[: length - begin]


def stream_text(stream: Any, alphabet: Alphabet, options: argparse.Namespace) -> str:
    """Writes to the terminal as the characters come; the text."""
    import keras

    import kcells

    # A generator of seeds goes on from call to call; an int would begin anew with each piece.
    seeds = keras.random.SeedGenerator(options.seed)
    choose = kcells.decoding.Sample(options.temperature, seed=seeds)
    text = options.prompt
    print(text, end="", flush=True)
    for ids in written(stream, alphabet.ids(options.prompt), options.length, choose):
        piece = alphabet.text(ids)
        print(piece, end="", flush=True)
        text += piece
    print()
    return text


def compare(
    model: Any, alphabet: Alphabet, prompts: Sequence[str], length: int, seed: int
) -> dict[str, tuple[float, list[str]]]:
    """How many bits a character the model finds in what it says, and the texts, by the way."""
    import keras

    import kcells

    stream, decoding = kcells.to_streaming(model), kcells.decoding
    ways: dict[str, Any] = {
        "Beam(8)": decoding.Beam(8),
        "Greedy()": decoding.Greedy(),
        "Sample(0.4)": decoding.Sample(0.4, seed=seed),
        "Sample(0.7)": decoding.Sample(0.7, seed=seed),
        "Sample(top_p=0.9)": decoding.Sample(top_p=0.9, seed=seed),
        "Sample()": decoding.Sample(seed=seed),
    }
    each = [read(stream, alphabet.ids(prompt)[:-1]) for prompt in prompts]
    states = keras.tree.map_structure(lambda *rows: keras.ops.concatenate(rows), *each)
    start = np.concatenate([alphabet.ids(prompt)[-1:] for prompt in prompts])
    found = {}
    for name, choose in ways.items():
        result = kcells.generate(stream, states, start, length, choose=choose)
        # Not divided by a length penalty: there is none.
        bits = -keras.ops.convert_to_numpy(result.scores).mean() / length / np.log(2)
        texts = keras.ops.convert_to_numpy(result.outputs)
        found[name] = (float(bits), [alphabet.text(ids) for ids in texts])
    return found


def draw(path: Path, bits: dict[str, list[float]], said: dict[str, float]) -> None:
    """How the model learned, and how likely it finds what it says."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (learning, ways) = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    epochs = np.arange(1, len(bits["training"]) + 1)
    for name, values in bits.items():
        learning.plot(epochs, values, "o-", label=f"{name} text")
    learning.set(title="Bits a character", xlabel="epoch", xticks=epochs)
    learning.grid(alpha=0.3)
    learning.legend()
    bars = ways.barh(list(said), list(said.values()))
    ways.bar_label(bars, fmt="%.2f", padding=3)
    held_out = bits["held out"][-1]
    ways.axvline(held_out, color="tab:orange", linestyle="--", label="the held out help texts")
    ways.set(title="Bits a character that the model finds in what it says")
    ways.set_xlim(0, 1.15 * max(held_out, *said.values()))
    ways.invert_yaxis()
    ways.legend(loc="upper right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains, writes and draws; the summary of it."""
    import keras

    import kcells

    folder = options.out / f"characters-{options.backend}"
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = Alphabet(text)
    ids = alphabet.ids(text)
    ids, held_out = ids[:-HELD_OUT], ids[-HELD_OUT:]
    batch = 32
    if options.quick:
        ids, held_out, batch = ids[:60_000], held_out[:5_000], 8
    steps = options.epochs * -(-len(windows(ids)[0]) // batch)
    model = build_model(options.cell, options.units, len(alphabet), steps)
    print(f"Training on {len(ids):,} characters ...", flush=True)
    began = time.perf_counter()
    bits = train(model, ids, held_out, options.epochs, batch)
    seconds = time.perf_counter() - began

    print(f"\nWriting on, at the temperature {options.temperature}:\n", flush=True)
    stream = kcells.to_streaming(model)
    said = stream_text(stream, alphabet, options)
    prompts = ["The statement ", "A class ", "If the function ", "Objects of this type "]
    found = compare(model, alphabet, prompts, 20 if options.quick else 120, options.seed)
    print("\nBits a character in what the model says, by how it chooses:")
    for name, (number, texts) in found.items():
        print(f"  {name:<18} {number:5.2f}   {prompts[0]}{' '.join(texts[0].split())[:60]}")
    draw(folder / "characters.png", bits, {name: number for name, (number, _) in found.items()})
    (folder / "text.txt").write_text(said + "\n", encoding="utf-8")
    model.save(folder / "characters.keras")
    summary = {
        "backend": options.backend,
        "cell": options.cell,
        "bits": bits,
        "bits_of_what_is_said": {name: number for name, (number, _) in found.items()},
        "characters_written": len(said),
        "seconds_of_training": round(seconds, 1),
        "files": {
            name: str(folder / name) for name in ("characters.keras", "characters.png", "text.txt")
        },
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; the exit status."""
    options = read_options(arguments)
    os.environ["KERAS_BACKEND"] = options.backend
    summary = run(options)
    print("\nFiles")
    for path in summary["files"].values():
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
