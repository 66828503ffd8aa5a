"""Pictures of results: ratios, growth with the size, memory.

matplotlib is needed here alone, and imported when something is drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kcells.bench import axes
from kcells.bench.memory import MEMORY_WORKLOADS
from kcells.bench.rows import Row
from kcells.bench.sides import OURS, SIDES, WORKLOADS
from kcells.bench.sizes import LoopSize
from kcells.bench.store import Results

__all__ = ["check_matplotlib", "draw_growth", "draw_ratios"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
MARKERS = dict(zip(SIDES, ("*", "o", "s", "h", "^", "D", "x", "v", "P", "d"), strict=True))
TITLES = {
    "train": "Training step (train_on_batch)",
    "predict": "Inference (predict_on_batch)",
    "layer": "Layer alone, forward and backward",
    "memory": "Peak memory of training, compiling included",
    "memory_grown": "Peak memory of training, beyond that of one sequence of two steps",
}
ROW = 0.15
"""Inches between two points one above the other."""


def check_matplotlib() -> None:
    """Says what to install, before hours are spent on measuring.

    Raises:
        ImportError: if matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('a picture needs matplotlib: pip install "kcells[bench]"') from error


def draw_ratios(rows: Sequence[Row], results: Results, path: Path) -> list[Path]:
    """Draws ratios, a point for each row.

    Args:
        rows: what to draw.
        results: the machine that the rows were measured on.
        path: the picture of the times; that of the memory is `-memory` beside it.

    Returns:
        The pictures that were written: one for times and one for memory, if there are rows.
    """
    written = []
    for workloads, name in ((WORKLOADS, ""), (MEMORY_WORKLOADS, "-memory")):
        found = [row for row in rows if row.workload in workloads]
        if any(row.ratio is not None for row in found):
            target = path.with_stem(path.stem + name)
            _ratios(found, _caption(rows, results), target)
            written.append(target)
    return written


def draw_growth(rows: Sequence[Row], results: Results, path: Path) -> list[Path]:
    """Draws the time of a step against what grows: a picture a workload.

    Args:
        rows: what to draw.
        results: the machine that the rows were measured on.
        path: the pictures are `-growth-train` and so on beside it.

    Returns:
        The pictures that were written.
    """
    written = []
    for workload in WORKLOADS:
        found = [row for row in rows if row.workload == workload and row.ours is not None]
        if found:
            target = path.with_stem(f"{path.stem}-growth-{workload}")
            _growth(found, workload, _caption(rows, results), target)
            written.append(target)
    return written


def _caption(rows: Sequence[Row], results: Results) -> str:
    backends = sorted({row.backend for row in rows})
    dates = sorted({row.date for row in rows if row.date})
    device = ", ".join(sorted({row.device for row in rows if row.device}))
    machine = results.machine
    days = " to ".join(dict.fromkeys(dates[:1] + dates[-1:]))
    versions = results.versions.get(backends[0], {}) if backends else {}
    shown = [
        f"{name} {versions[name]}" for name in ("kcells", "keras", *backends) if name in versions
    ]
    place = f"{machine['processor']}, {machine['cores']} cores, {device}"
    return f"{', '.join(backends)}  |  {place}  |  {', '.join(shown)}  |  {days}"


# -- Ratios: cells from top to bottom, one panel a workload


def _ratios(rows: Sequence[Row], caption: str, path: Path) -> None:
    from matplotlib import pyplot

    rows = [row for row in rows if row.side != OURS]
    workloads = [name for name in TITLES if any(row.workload == name for row in rows)]
    places = _places(rows)
    sizes = sorted({row.size for row in rows}, key=LoopSize.parse)
    sides = [name for name in SIDES if any(row.side == name for row in rows)]
    height = max(2.2, ROW * (1 + max(place for place, _ in places.values())))
    figure, panels = pyplot.subplots(
        1, len(workloads), figsize=(max(8.0, 1.6 + 5.2 * len(workloads)), height + 2.0),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    colors = dict(zip(sizes, _cycled(len(sizes)), strict=True))
    for panel, workload in zip(panels[0], workloads, strict=True):
        chosen = [row for row in rows if row.workload == workload]
        axes.ratio_panel(panel, chosen, places, colors, MARKERS, TITLES[workload])
    axes.label_cells(panels[0][0], places)
    axes.ratio_legend(figure, colors, {side: MARKERS[side] for side in sides})
    what = "memory" if rows[0].unit == "MiB" else "time"
    _finish(figure, f"kcells' {what} divided by that of the other side", caption, path)


def _places(rows: Sequence[Row]) -> dict[tuple[str, str, str], tuple[int, bool]]:
    """The line of each cell, size and side from the top, and whether its cell is shaded.

    A line of its own for each, so that no point hides another.
    """
    places: dict[tuple[str, str, str], tuple[int, bool]] = {}
    line = 0
    for number, cell in enumerate(dict.fromkeys(row.cell for row in rows)):
        entries = {
            (list(SIDES).index(row.side), LoopSize.parse(row.size), row.side, row.size)
            for row in rows
            if row.cell == cell
        }
        for _, _, side, size in sorted(entries):
            places[cell, size, side] = (line, number % 2 == 0)
            line += 1
        line += 1
    return places


def _cycled(count: int) -> list[str]:
    return [COLORS[k % len(COLORS)] for k in range(count)]


# -- Growth: one line of panels a cell, one panel an axis


def _growth(rows: Sequence[Row], workload: str, caption: str, path: Path) -> None:
    from matplotlib import pyplot

    cells = list(dict.fromkeys(row.cell for row in rows))
    names = [name for name in SIDES if any(row.side == name for row in rows)]
    colors = dict(zip(names, _cycled(len(names)), strict=True))
    figure, panels = pyplot.subplots(
        len(cells), 3, figsize=(11.0, 2.4 * len(cells) + 1.6), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, cell in zip(panels, cells, strict=True):
        own = [row for row in rows if row.cell == cell]
        for panel, (axis, label) in zip(line, axes.AXES.items(), strict=True):
            axes.growth_panel(panel, own, axis, colors, MARKERS)
            if cell == cells[-1]:
                panel.set_xlabel(label)
        line[0].set_ylabel(f"{cell}\nms per time step")
    axes.growth_legend(figure, colors, MARKERS)
    title = f"{TITLES[workload]}: milliseconds divided by time steps, as the size grows"
    _finish(figure, title, caption, path)


def _finish(figure: Any, title: str, caption: str, path: Path) -> None:
    from matplotlib import pyplot

    columns = int(figure.get_figwidth() * 11)
    wrap: Callable[[str], str] = lambda text: "\n".join(textwrap.wrap(text, columns))  # noqa: E731
    figure.suptitle(f"{wrap(title)}\n{wrap(caption)}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
