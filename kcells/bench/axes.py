"""What stands in one panel of a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kcells.bench.rows import Row
from kcells.bench.sides import OURS
from kcells.bench.sizes import LoopSize

__all__ = ["AXES", "growth_legend", "growth_panel", "label_cells", "ratio_legend", "ratio_panel"]

Places = Mapping[tuple[str, str, str], tuple[int, bool]]

AXES = {"length": "time steps (T)", "batch": "batch (B)", "units": "units (U)"}
"""What grows in a sweep, by the attribute of a size."""

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def ratio_panel(
    panel: Any,
    rows: Sequence[Row],
    places: Places,
    colors: Mapping[str, str],
    markers: Mapping[str, str],
    title: str,
) -> None:
    """Ratios of one workload from left to right, on a log axis."""
    panel.set_xscale("log")
    _shade(panel, places)
    panel.axvline(1, color="black", linewidth=1, zorder=1)
    for row in rows:
        if row.ratio is None or row.low is None or row.high is None:
            continue
        y = places[row.cell, row.size, row.side][0]
        panel.plot([row.low, row.high], [y, y], color=colors[row.size], linewidth=1.5, zorder=2)
        panel.plot(row.ratio, y, markers[row.side], color=colors[row.size], markersize=6, zorder=3)
    _mark_those_that_cannot(panel, rows, places)
    _ticks(panel, rows)
    panel.set_title(title, fontsize=10)
    panel.set_xlabel("ratio to kcells' favour  <  1  <  to the other's", fontsize=9)
    panel.grid(axis="x", linewidth=0.4, color="0.8", zorder=0)


def _shade(panel: Any, places: Places) -> None:
    for first, last, shaded in _blocks(places).values():
        if shaded:
            panel.axhspan(first - 1, last + 1, color="0.95", zorder=0, linewidth=0)
    lowest = max(last for _, last, _ in _blocks(places).values())
    panel.set_ylim(lowest + 1, -1)


def _blocks(places: Places) -> dict[str, tuple[int, int, bool]]:
    """The first and the last line of each cell."""
    blocks: dict[str, tuple[int, int, bool]] = {}
    for (cell, _, _), (line, shaded) in places.items():
        first = blocks[cell][0] if cell in blocks else line
        blocks[cell] = (first, line, shaded)
    return blocks


def _mark_those_that_cannot(panel: Any, rows: Sequence[Row], places: Places) -> None:
    """A word at the left edge, where there is no point."""
    silent: dict[str, list[Row]] = {}
    for row in rows:
        if row.error:
            silent.setdefault(row.cell, []).append(row)
    for of_cell in silent.values():
        lines = [places[row.cell, row.size, row.side][0] for row in of_cell]
        sides = ", ".join(dict.fromkeys(row.side for row in of_cell))
        panel.text(
            0.02, sum(lines) / len(lines), f"{sides}: cannot run", fontsize=7, color="0.35",
            transform=panel.get_yaxis_transform(), va="center", zorder=4,
            bbox={"facecolor": "white", "edgecolor": "0.8", "linewidth": 0.5, "pad": 1.5},
        )  # fmt: skip


def _ticks(panel: Any, rows: Sequence[Row]) -> None:
    """Ticks at 1, 2 and 5, written as numbers, with 1 always in sight."""
    values = [v for row in rows for v in (row.low, row.high) if v is not None]
    low, high = min([0.5, *values]) / 1.25, max([2.0, *values]) * 1.25
    panel.set_xlim(low, high)
    shown = [tick for tick in TICKS if low <= tick <= high]
    panel.set_xticks(shown, [f"{tick:g}" for tick in shown], fontsize=8)
    panel.minorticks_off()


def label_cells(panel: Any, places: Places) -> None:
    """The names of the cells, each in the middle of its lines."""
    blocks = _blocks(places)
    panel.set_yticks([(first + last) / 2 for first, last, _ in blocks.values()], list(blocks))
    panel.tick_params(axis="y", length=0)


def ratio_legend(figure: Any, colors: Mapping[str, str], markers: Mapping[str, str]) -> None:
    """Colours are sizes, shapes are sides."""
    from matplotlib.lines import Line2D

    sizes = [Line2D([], [], color=c, linewidth=4, label=s) for s, c in colors.items()]
    sides = [
        Line2D([], [], color="0.3", marker=m, linestyle="", label=f"over {s}")
        for s, m in markers.items()
    ]
    title = (
        "sizes: batch x time steps x features x units.  The bar spans the middle half of the rounds"
    )
    _legend(figure, [sides, sizes], title)


def growth_panel(
    panel: Any,
    rows: Sequence[Row],
    axis: str,
    colors: Mapping[str, str],
    markers: Mapping[str, str],
) -> None:
    """Milliseconds per time step of every side, against one number of the size."""
    chosen = along(rows, axis)
    for side, color in colors.items():
        points = sorted(
            (getattr(size, axis), value / size.length)
            for row, size in chosen
            if row.side == side and (value := row.ours if side == OURS else row.other) is not None
        )
        if points:
            xs, ys = zip(*points, strict=True)
            panel.plot(xs, ys, color=color, marker=markers[side], markersize=5, linewidth=1.4)
    panel.set_xscale("log")
    panel.set_yscale("log")
    shown = sorted({getattr(size, axis) for _, size in chosen})
    panel.set_xticks(shown, [str(value) for value in shown], fontsize=8)
    panel.minorticks_off()
    _plain_decades(panel)
    panel.grid(linewidth=0.4, color="0.85")
    if chosen:
        panel.set_title(_what_stays(chosen[0][1], axis), fontsize=8)


def _plain_decades(panel: Any) -> None:
    """The y axis in plain numbers, with enough of them to read a value off."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.tick_params(axis="y", labelsize=8)


def _what_stays(size: LoopSize, axis: str) -> str:
    letters = {"batch": "B", "length": "T", "features": "F", "units": "U"}
    kept = [f"{letters[k]}={v}" for k, v in dataclasses.asdict(size).items() if k != axis]
    return ", ".join(kept)


def along(rows: Sequence[Row], axis: str) -> list[tuple[Row, LoopSize]]:
    """The rows whose sizes differ in one number alone: the longest such line."""
    lines: dict[LoopSize, list[tuple[Row, LoopSize]]] = {}
    for row in rows:
        size = LoopSize.parse(row.size)
        lines.setdefault(dataclasses.replace(size, **{axis: 1}), []).append((row, size))
    return max(lines.values(), key=lambda line: len({size for _, size in line}), default=[])


def growth_legend(figure: Any, colors: Mapping[str, str], markers: Mapping[str, str]) -> None:
    """Colours and shapes are sides."""
    from matplotlib.lines import Line2D

    sides = [
        Line2D([], [], color=color, marker=markers[side], label=side)
        for side, color in colors.items()
    ]
    _legend(figure, [sides], None)


def _legend(figure: Any, lines: list[list[Any]], title: str | None) -> None:
    """A legend with one line for each list of entries."""
    from matplotlib.lines import Line2D

    columns = max(map(len, lines))
    blank = Line2D([], [], linestyle="", label=" ")
    # matplotlib fills a column before it begins the next one.
    padded = [line + [blank] * (columns - len(line)) for line in lines]
    handles = [line[k] for k in range(columns) for line in padded]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8,
        title=title, title_fontsize=8, frameon=False,
    )  # fmt: skip
