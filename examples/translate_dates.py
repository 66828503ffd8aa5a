"""Dates in many spellings to ISO: an encoder, a decoder that attends to it, and a beam search.

"the 3rd of March 2021", "Wednesday, 3 Mar. '21" and "3.III.2021" all are 2021-03-03. The encoder
reads a spelling character by character, in both directions. The decoder writes the ISO date; at
each step it looks at the outputs of the encoder, which come to it as `constants=`, with a mask of
what is padding. It is one cell around another: `embedding` around `attention` around a GRU, with
`output_projection` outermost. `fit` trains it, with the true characters before each one as inputs;
`kcells.generate` then lets the same cell write, by a beam search, and the picture shows where it
looked. The dates are made up here, and those of the test are not among those of the training.

    python examples/translate_dates.py --backend torch     # --epochs, --seed, --out

Everything is written to out/translate_dates-<backend>/. The exit status is 2 for a wrong option.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
"""So a year of two digits says which century it is in."""

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
LONGEST = len("WEDNESDAY, THE 30TH OF SEPTEMBER 2021")
READ = "\0 ',./-0123456789abcdefghijklmnopqrstuvwxyz"
"""The characters of a spelling, the padding first."""

WRITTEN = "0123456789-^$"
"""Those of an ISO date, of which `^` begins one and `$` ends it."""

START, END = WRITTEN.index("^"), WRITTEN.index("$")
STEPS = len("2021-03-03$")
UNITS = 64
TRAINING, HELD_OUT = 16_000, 1_000


class Dates(NamedTuple):
    """Spellings, and what they say.

    Attributes:
        spellings: as texts.
        isos: as texts.
    """

    spellings: list[str]
    isos: list[str]


# -- The data


def spelled(date: datetime.date, rng: np.random.Generator) -> str:
    """A date in one of many spellings; days come before months where both are numbers."""
    day, year = date.day, date.year
    ending = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    month = str(rng.choice([date.strftime("%B"), date.strftime("%b"), date.strftime("%b") + "."]))
    either = str(rng.choice([f"{year}", f"'{year % 100:02}"]))
    texts = [
        f"{day} {month} {either}",
        f"{day}{ending} {month} {either}",
        f"the {day}{ending} of {month} {year}",
        f"{month} {day}, {year}",
        f"{month} {day}{ending}, {either}",
        f"{year}, {month} {day}",
        f"{day:02}/{date.month:02}/{year}",
        f"{day}.{date.month}.{year}",
        f"{day}.{ROMAN[date.month - 1]}.{year}",
        f"{day}-{date.month}-{year % 100:02}",
        f"{year}/{date.month:02}/{day:02}",
        f"{year}{date.month:02}{day:02}",
    ]
    text = texts[rng.integers(len(texts))]
    day_first = text.startswith((f"{day} ", f"{day}{ending}", "the "))
    if day_first and rng.random() < 0.4:
        text = f"{date.strftime(str(rng.choice(['%A', '%a'])))}, {text}"
    return str(rng.choice([text, text.lower(), text.upper()]))


def make_dates(rng: np.random.Generator, training: int, held_out: int) -> tuple[Dates, Dates]:
    """Dates to train with, and others, of other days, to test with."""
    days = rng.permutation((LAST - FIRST).days + 1)
    count = len(days) // 10
    parts = []
    for some, size in ((days[count:], training), (days[:count], held_out)):
        dates = [FIRST + datetime.timedelta(int(day)) for day in rng.choice(some, size)]
        parts.append(Dates([spelled(d, rng) for d in dates], [d.isoformat() for d in dates]))
    return parts[0], parts[1]


def read_ids(spellings: Sequence[str]) -> np.ndarray:
    """`(dates, LONGEST)`; zero is padding, and case does not count."""
    ids = np.zeros((len(spellings), LONGEST), "int32")
    for row, text in zip(ids, spellings, strict=True):
        row[: len(text)] = [READ.index(character) for character in text.lower()]
    return ids


def written_ids(isos: Sequence[str]) -> np.ndarray:
    """`(dates, STEPS)`, the end among them."""
    return np.array([[WRITTEN.index(character) for character in f"{iso}$"] for iso in isos])


def shifted(ids: np.ndarray) -> np.ndarray:
    """What stands before each character: the start, then all but the last."""
    return np.concatenate([np.full((len(ids), 1), START), ids[:, :-1]], axis=1)


# -- The model


def build_decoder(shows_alignment: bool = False) -> Any:
    """From the character before to scores of the next; or to where the attention is."""
    import kcells

    cell = kcells.cell(
        "attention",
        "gru",
        UNITS,
        attention_units=UNITS,
        activation="tanh",
        return_alignment=shows_alignment,
    )
    cell = kcells.cell("embedding", cell, classes=len(WRITTEN), size=16)
    if not shows_alignment:
        cell = kcells.cell("output_projection", cell, size=len(WRITTEN))
    return kcells.RNN(cell, return_sequences=True, name="decoder")


def build_models() -> tuple[Any, Any, Any]:
    """All of it, to be trained; the encoder alone; and the decoder, a layer."""
    import keras

    import kcells

    spelling = keras.Input((LONGEST,), dtype="int32", name="spelling")
    before = keras.Input((STEPS,), dtype="int32", name="before")
    counts = keras.ops.not_equal(spelling, 0)
    embedded = keras.layers.Embedding(len(READ), 24)(spelling)
    both_ways = kcells.Bidirectional(kcells.build("gru", UNITS, return_sequences=True))
    memory = both_ways(embedded, mask=counts)
    encoder = keras.Model(spelling, {"memory": memory, "mask": counts})
    decoder = build_decoder()
    model = keras.Model(
        {"spelling": spelling, "before": before}, decoder(before, constants=encoder(spelling))
    )
    return model, encoder, decoder


def train(model: Any, dates: Dates, epochs: int) -> list[float]:
    """Trains with `fit`; the loss after each epoch."""
    import keras

    batch = 64
    steps = epochs * -(-len(dates.isos) // batch)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(5e-3, steps, alpha=0.02), clipnorm=1.0
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    wanted = written_ids(dates.isos)
    inputs = {"spelling": read_ids(dates.spellings), "before": shifted(wanted)}
    losses = []
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        losses += model.fit(inputs, wanted, batch_size=batch, verbose=0).history["loss"]
        took = time.perf_counter() - began
        print(f"  epoch {epoch:>2}: loss {losses[-1]:.4f}, {took:.1f} s", flush=True)
    return losses


def translate(encoder: Any, decoder: Any, spellings: Sequence[str]) -> list[str]:
    """What the decoder writes, as texts, by a beam search."""
    import kcells

    constants = encoder.predict(read_ids(spellings), batch_size=250, verbose=0)
    found = kcells.generate(
        decoder.cell,
        None,
        start=np.full(len(spellings), START),
        max_length=STEPS,
        end=END,
        choose=kcells.decoding.Beam(4),
        constants=constants,
    )
    ids, lengths = (np.asarray(to_numpy(part)) for part in (found.outputs, found.lengths))
    return [
        "".join(WRITTEN[k] for k in row[:length]).rstrip("$")
        for row, length in zip(ids, lengths, strict=True)
    ]


def to_numpy(tensor: Any) -> np.ndarray:
    """An array of a tensor of any backend."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


def attention_at(encoder: Any, decoder: Any, spellings: Sequence[str], said: Sequence[str]) -> Any:
    """Where the decoder looks while it writes: `(dates, STEPS, LONGEST)`."""
    showing = build_decoder(shows_alignment=True)
    written = np.full((len(said), STEPS), END)
    for row, text in zip(written, said, strict=True):
        row[: len(text)] = [WRITTEN.index(character) for character in text]
    constants = encoder.predict(read_ids(spellings), verbose=0)
    before = shifted(written)
    showing(before, constants=constants)  # which builds it
    showing.set_weights(decoder.cell.cell.get_weights())
    _, alignment = showing(before, constants=constants)
    return to_numpy(alignment)


def draw(
    path: Path, losses: Sequence[float], spellings: Sequence[str], said: Sequence[str], seen: Any
) -> None:
    """The loss, and for some dates what each character that is written was read from."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(15, 7.5), layout="constrained")
    axes = axes.ravel()
    axes[0].semilogy(range(1, len(losses) + 1), losses, marker=".")
    axes[0].set(title="Loss in training", xlabel="epoch", xticks=range(1, len(losses) + 1))
    for axis, spelling, text, shares in zip(axes[1:], spellings, said, seen, strict=False):
        shown = shares[: len(text), : len(spelling)]
        axis.imshow(shown, aspect="auto", cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(spelling)), list(spelling))
        axis.set_yticks(range(len(text)), list(text))
        axis.set(title=f"{spelling!r} is {text}")
    figure.suptitle("Where the decoder looks (across) for each character that it writes (down)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


# -- The script


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains, translates and draws; the summary of it."""
    import keras

    began = time.perf_counter()
    folder = options.out / f"translate_dates-{options.backend}"
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    training, held_out = make_dates(rng, TRAINING, HELD_OUT)
    model, encoder, decoder = build_models()
    print(f"Training on {len(training.isos)} dates ...", flush=True)
    losses = train(model, training, options.epochs)
    print("Translating dates that it has not seen ...", flush=True)
    said = translate(encoder, decoder, held_out.spellings)
    right = [text == iso for text, iso in zip(said, held_out.isos, strict=True)]
    for spelling, text, is_right in list(zip(held_out.spellings, said, right, strict=True))[:8]:
        print(f"  {spelling:<38} {text:<12} {'' if is_right else '  wrong'}")
    longest = sorted(range(100), key=lambda k: -len(held_out.spellings[k]))[2:62:12]
    spellings, texts = ([part[k] for k in longest] for part in (held_out.spellings, said))
    seen = attention_at(encoder, decoder, spellings, texts)
    draw(folder / "alignments.png", losses, spellings, texts, seen)
    summary = {
        "backend": options.backend,
        "epochs": options.epochs,
        "held_out": len(said),
        "exact": round(float(np.mean(right)), 4),
        "seconds": round(time.perf_counter() - began, 1),
        "picture": str(folder / "alignments.png"),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line; ends the process with status 2 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", choices=BACKENDS, help="KERAS_BACKEND, or else tensorflow")
    parser.add_argument("--epochs", type=int, default=4)
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
