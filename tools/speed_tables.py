"""Writes the table of figures in docs/speed.md from benchmarks/results/cells-*.json.

python tools/speed_tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
BACKENDS = ("tensorflow", "jax", "torch")
START, END = "<!-- figures: tools/speed_tables.py -->", "<!-- end -->"


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page(text: str) -> str:
    """The page with the table as the results have it."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table(rows())}\n{END}{after}"


def rows() -> list[dict[str, Any]]:
    """The rows of all backends."""
    found: list[dict[str, Any]] = []
    for backend in BACKENDS:
        file = ROOT / "benchmarks" / "results" / f"cells-{backend}.json"
        if file.exists():
            found += json.loads(file.read_text(encoding="utf-8"))["rows"]
    return found


def table(found: list[dict[str, Any]]) -> str:
    """One line a cell and size: kcells over stock Keras, training / inference."""
    ratios = {
        (r["backend"], r["cell"], r["size"], r["workload"], r["side"]): r["ratio"] for r in found
    }
    sides = [("tensorflow", "stock"), ("tensorflow", "stock_xla"), ("jax", "stock")]
    sides += [("torch", "stock")]
    heads = ["TensorFlow", "TensorFlow, `jit_compile=True`", "JAX", "PyTorch"]
    lines = [f"| cell | size | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    timed = {(r["cell"], r["size"]) for r in found if r["workload"] == "train"}
    for cell, size in sorted(timed, key=lambda key: (key[0], _numbers(key[1]))):
        cells = [_pair(ratios, backend, cell, size, side) for backend, side in sides]
        if set(cells) != {"-"}:  # which stock Keras cannot run
            lines.append(f"| {cell} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _numbers(size: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", size)]


def _pair(ratios: dict[Any, Any], backend: str, cell: str, size: str, side: str) -> str:
    both = [ratios.get((backend, cell, size, work, side)) for work in ("train", "predict")]
    return "-" if None in both else " / ".join(f"{ratio:.2f}" for ratio in both)


if __name__ == "__main__":
    main()
