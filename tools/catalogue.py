"""Writes the table of docs/catalogue.md: every installed cell, from what it says of itself.

    python tools/catalogue.py [--check]

With `--check` nothing is written; the exit status says whether the page is up to date.
Parameters are counted for several sizes, and the formula is the one that fits them all.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kcells
from kcells.cells.equivalence import equivalence_of
from kcells.commands.docstring import documentation_of
from kcells.registry import load
from kcells.structure import leaves_with_paths, size_structure

PAGE = Path(__file__).parents[1] / "docs" / "catalogue.md"
HEAD = (
    *("id", "cell", "source", "state", "parameters", "gates", "parallel", "equivalent"),
    "also in",
)
SIZES = tuple(itertools.product((10, 14, 22), (6, 8, 12)))
"""Pairs of features and units, all even: a cell may come in two groups."""

IN_TORCHRECURRENT = {
    *("cornn", "fast_grnn", "fast_rnn", "indrnn", "intersection_rnn", "janet", "lem", "li_gru"),
    *("lstmp", "mgu", "mlstm", "nas", "ugrnn", "unicornn"),
}
ELSEWHERE = {
    # Who else ships the cell, in a release that can be installed today.
    **dict.fromkeys(IN_TORCHRECURRENT, "torchrecurrent"),
    **dict.fromkeys(("lstm", "gru", "simple_rnn"), "Keras, torch.nn"),
    "basic_rnn": "Keras, torch.nn",
    "cfc": "ncps",
    "ltc": "ncps",
    "conv_lstm": "Keras",
    "gru_v1": "Keras, torch.nn",
    "gru_v3": "Keras",
    "lmu": "keras-lmu",
}

_LSTM = "input, forget, output"
_GRU = "update, reset"
GATES = {
    # What is between 0 and 1 (or above, where it is exponential) and scales something, by the
    # name that the paper has for it. Every cell has an entry, so that none is forgotten.
    **dict.fromkeys(("lstm", "basic_lstm", "lstmp", "glstm", "indy_lstm", "lstm_block"), _LSTM),
    **dict.fromkeys(("conv_lstm", "ln_lstm", "mi_lstm", "mlstm", "time_freq_lstm"), _LSTM),
    **dict.fromkeys(("slstm", "xlstm_mlstm"), _LSTM),
    **dict.fromkeys(("grid_lstm", "bidirectional_grid_lstm"), f"{_LSTM}, in time and frequency"),
    **dict.fromkeys(("gru", "gru_v1", "gru_v3", "gru_block", "indy_gru", "conv_gru"), _GRU),
    **dict.fromkeys(("ln_gru", "mi_gru", "mgru"), _GRU),
    **dict.fromkeys(("basic_rnn", "simple_rnn", "ln_rnn", "mi_rnn", "mrnn", "indrnn"), ""),
    **dict.fromkeys(("fast_rnn", "cornn", "unicornn", "lmu", "lru", "s5", "ltc", "esn"), ""),
    **dict.fromkeys(("nested", "parallel"), ""),
    **dict.fromkeys(("min_gru", "li_gru", "fast_grnn", "ugrnn"), "update"),
    "cfc": "time",
    "cifg_lstm": "input, which forgets too; output",
    "hgru": "forget, output",
    "intersection_rnn": "depth, time",
    "janet": "forget",
    "lem": "two time steps",
    "mgu": "forget, which resets too",
    "min_lstm": "input, forget",
    "nas": "four of eight sums",
    "nested_lstm": f"{_LSTM}; the same within",
    "on_lstm": f"{_LSTM}; master input, master forget",
    "phased_lstm": f"{_LSTM}, time",
    "qrnn": "forget, output",
    "rg_lru": "recurrence, input",
    "rhn": "transform, carry",
    "sru": "forget, highway",
}


def rows() -> Iterable[Sequence[str]]:
    """One row a cell."""
    yield HEAD
    for info in kcells.list_cells():
        if info.distribution == "session":
            continue
        cls = load(info.qualified_id)
        said = documentation_of(cls)
        yield (
            f"`{info.id}`",
            said.summary.rstrip("."),
            source(said.paper),
            state(info),
            parameters(info),
            GATES[info.id],
            "yes" if "parallel" in info.paths else "",
            builtin(info),
            ELSEWHERE.get(info.id, ""),
        )


def source(paper: str) -> str:
    """Authors and year, with a link where the first paper has an arXiv number."""
    year = re.search(r"\b(?:19|20)\d\d\b", paper)
    if not year:
        return paper
    # What leads to them, as in "the cell of a guide (Zhu and Chollet 2019)", is left out.
    named = re.split(r"\(| from |such as ", paper[: year.start()])[-1].strip()
    authors = re.split(r", | and ", named)
    short = f"{authors[0]} et al." if len(authors) > 3 else named
    # Up to where the next paper begins.
    first = re.split(r"[;.] ", paper[year.end() :])[0]
    number = re.search(r"arXiv:(\d{4}\.\d{4,5})", first)
    shown = f"{short} {year[0]}"
    return f"[{shown}](https://arxiv.org/abs/{number[1]})" if number else shown


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a cell is made and built, where that is not `cls(units)` on a vector.

    Attributes:
        arguments: of the constructor beside the units.
        shape: of the inputs, from the number of features.
        features: how many there are, from features and units that are asked for.
        note: what the formula is for.
    """

    arguments: Callable[[int], dict[str, Any]] = lambda units: {}
    shape: Callable[[int], Any] = lambda features: (None, features)
    features: Callable[[int, int], int] = lambda features, units: features
    note: str = ""


_WIDTH = 83
_AS_MANY = Recipe(features=lambda features, units: units, note="F = U")
_ON_A_LINE = Recipe(
    arguments=lambda units: {"kernel_size": 3, "padding": "same"},
    shape=lambda features: (None, _WIDTH, features),
    note="frames of width W, kernel_size = 3",
)
RECIPES = {
    **dict.fromkeys(("intersection_rnn", "rg_lru", "s5"), _AS_MANY),
    **dict.fromkeys(("conv_gru", "conv_lstm"), _ON_A_LINE),
    "lmu": Recipe(lambda units: {"order": units, "theta": 10.0}, note="order = U"),
    "phased_lstm": Recipe(shape=lambda f: {"features": (None, f), "time": (None, 1)}),
}


def made(info: kcells.CellInfo, features: int, units: int) -> Any:
    """A built cell of these sizes; None if it takes other arguments than a size."""
    recipe = RECIPES.get(info.id, Recipe())
    try:
        cell = load(info.qualified_id)(units, **recipe.arguments(units))
        cell.build(recipe.shape(recipe.features(features, units)))
    except Exception:
        return None
    return cell


def state(info: kcells.CellInfo) -> str:
    """The shapes of the states, in U, and W for the width of a frame."""
    cell = made(info, 98, 90)
    if cell is None:
        return "its own"
    sizes = size_structure(cell.state_size, "state_size", info.id)
    names = {90: "U", _WIDTH: "W"}
    shapes = [size.dims for _, size in leaves_with_paths(sizes, "")]
    return ", ".join(" x ".join(names.get(d, str(d)) for d in dims) for dims in shapes)


def parameters(info: kcells.CellInfo) -> str:
    """The number of trainable parameters, as a formula in F (features) and U (units)."""
    recipe = RECIPES.get(info.id, Recipe())
    counts = []
    for features, units in SIZES:
        cell = made(info, features, units)
        if cell is None:
            return "its own"
        counts.append(sum(int(np.prod(weight.shape)) for weight in cell.trainable_weights))
    terms = {
        "FU": lambda f, u: f * u,
        "U²": lambda f, u: u * u,
        "F": lambda f, u: f,
        "U": lambda f, u: u,
        "": lambda f, u: 1,
    }
    if recipe is _AS_MANY:
        terms = {name: term for name, term in terms.items() if "F" not in name}
    matrix = np.array([[term(f, u) for term in terms.values()] for f, u in SIZES], float)
    found = np.linalg.lstsq(matrix, np.array(counts, float), rcond=None)[0]
    rounded = np.round(found)
    if not np.allclose(matrix @ rounded, counts):
        return "see `kcells info`"
    shown = [
        name if count == 1 and name else f"{int(count)}{name}"
        for name, count in zip(terms, rounded, strict=True)
        if count
    ]
    formula = " + ".join(shown) or "0"
    return f"{formula} ({recipe.note})" if recipe.note else formula


def builtin(info: kcells.CellInfo) -> str:
    """The built-in layer that the cell is in some configuration."""
    cell = made(info, 4, 4)
    return "" if cell is None else equivalence_of(cell).builtin or ""


def markdown(table: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|---" * len(HEAD) + "|", *body])


def page(text: str) -> str:
    """`text` with the table as it is today."""
    start, end = "<!-- cells -->\n", "\n<!-- /cells -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    return before + start + markdown(rows()) + end + after


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    new = page(text)
    if "--check" in sys.argv:
        sys.exit(new != text)
    PAGE.write_text(new, encoding="utf-8")
