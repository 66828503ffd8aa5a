"""Writes the tables of cells in docs and READMEs, from what the cells say of themselves.

    python tools/catalogue.py [--check]

With `--check` nothing is written; the exit status says whether the pages are up to date.
Parameters are counted for several sizes, and the formula is the one that fits them all.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kcells
from kcells.cells.card import arguments_for, card_of
from kcells.cells.equivalence import equivalence_of
from kcells.commands.docstring import documentation_of
from kcells.registry import load
from kcells.registry.known import FILE
from kcells.structure import leaves_with_paths, map_leaves, size_structure

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "catalogue.md"
FOLDERS = {folder.name: folder for folder in sorted((ROOT / "plugins").iterdir())}
HEAD = (
    *("id", "cell", "source", "state", "parameters", "gates", "parallel", "equivalent"),
    "also in",
)
SIZES = tuple(itertools.product((10, 14, 22), (6, 8, 12)))
"""Pairs of features and units, all even: a cell may come in two groups."""

_WIDTH = 16
"""Of the frames in the cards of convolutional cells."""


def rows() -> Iterable[Sequence[str]]:
    """One row a cell."""
    yield HEAD
    for info in kcells.list_cells():
        if info.distribution == "session":
            continue
        cls = load(info.qualified_id)
        said, card = documentation_of(cls), card_of(cls)
        yield (
            f"`{info.id}`",
            said.summary.rstrip("."),
            source(said.paper),
            state(info),
            parameters(info),
            card.gates or "",
            "yes" if "parallel" in info.paths else "",
            builtin(info),
            card.also_in,
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


def made(info: kcells.CellInfo, features: int, units: int) -> Any:
    """A built cell of these sizes; None if it takes other arguments than a size."""
    cls, place = load(info.qualified_id), kcells.Place(units, features)
    inputs = card_of(cls).inputs(place)
    try:
        cell = kcells.cell(cls, **arguments_for(cls, place))
        (sizes,) = size_structure([inputs], "inputs", info.id)
        cell.build(map_leaves(lambda size, _: (None, *size.dims), sizes))
    except kcells.errors.KCellsError:
        return None
    return cell


def state(info: kcells.CellInfo) -> str:
    """The shapes of the states, in U, and W for the width of a frame."""
    cell = made(info, 98, 90)
    if cell is None:
        return "its own"
    sizes = size_structure(cell.state_size, "state_size", info.id)
    names = {90: "U", 180: "2U", 270: "3U", _WIDTH: "W"}
    shapes = [size.dims for _, size in leaves_with_paths(sizes, "")]
    return ", ".join(" x ".join(names.get(d, str(d)) for d in dims) for dims in shapes)


def parameters(info: kcells.CellInfo) -> str:
    """The number of trainable parameters, as a formula in F (features) and U (units)."""
    card = card_of(load(info.qualified_id))
    counts = []
    for features, units in SIZES:
        cell = made(info, features, units)
        if cell is None:
            return "its own"
        counts.append(sum(int(np.prod(weight.shape)) for weight in cell.trainable_weights))
    terms = {
        "FU": lambda f, u: f * u,
        "F²": lambda f, u: f * f,
        "U²": lambda f, u: u * u,
        "F": lambda f, u: f,
        "U": lambda f, u: u,
        "": lambda f, u: 1,
    }
    if card.inputs(kcells.Place(4, 3)) == card.inputs(kcells.Place(4, 5)):
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
    return f"{formula} ({card.note})" if card.note else formula


def builtin(info: kcells.CellInfo) -> str:
    """The built-in layer that the cell is in some configuration."""
    cell = made(info, 4, 4)
    return "" if cell is None else equivalence_of(cell).builtin or ""


def short_rows(distribution: str) -> Iterable[Sequence[str]]:
    """The table in the README of a plugin: id, class and what it is."""
    yield ("id", "cell", "what it is")
    for info in kcells.list_cells():
        if info.distribution == distribution:
            said = documentation_of(load(info.qualified_id)).summary
            yield (f"`{info.id}`", f"`{info.class_name}`", said)


def rows_by_distribution() -> Iterable[Sequence[str]]:
    """The table in README.md: the ids of each distribution."""
    yield ("from", "ids")
    by_distribution: dict[str, list[str]] = {"kcells": []}
    for info in kcells.list_cells():
        by_distribution.setdefault(info.distribution, []).append(f"`{info.id}`")
    for name in ("kcells", *FOLDERS):
        yield (name, ", ".join(by_distribution[name]))


def markdown(table: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *body = list(table)
    lines = ["| " + " | ".join(row) + " |" for row in (head, *body)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def page(text: str, table: Iterable[Sequence[str]] | None = None) -> str:
    """`text` with its table as it is today; by default that of the catalogue."""
    start, end = "<!-- cells -->\n", "\n<!-- /cells -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    return before + start + markdown(rows() if table is None else table) + end + after


def known() -> str:
    """The cells of the plugins here, for those who have not installed them."""
    cells: dict[str, dict[str, list[str]]] = {name: {} for name in FOLDERS}
    for info in kcells.list_cells():
        if info.distribution in cells:
            cells[info.distribution][info.id] = [info.class_name, *info.aliases]
    return json.dumps(cells, indent=1) + "\n"


def pages() -> Iterable[tuple[Path, str]]:
    """Every page with a table, and the file of known cells, with what should stand there."""
    yield ROOT / "kcells" / "registry" / FILE, known()
    tables = [(PAGE, rows()), (ROOT / "README.md", rows_by_distribution())]
    tables += [(folder / "README.md", short_rows(name)) for name, folder in FOLDERS.items()]
    for path, table in tables:
        yield path, page(path.read_text(encoding="utf-8"), table)


if __name__ == "__main__":
    stale = [(path, new) for path, new in pages() if path.read_text(encoding="utf-8") != new]
    if "--check" in sys.argv:
        sys.exit(bool(stale))
    for path, new in stale:
        path.write_text(new, encoding="utf-8")
