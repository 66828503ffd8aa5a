"""What kcells costs before it computes anything.

    python benchmarks/startup.py [--repeats 7] [--json]

1. What `import kcells` adds to `import keras`. Both are timed in fresh processes that take
   turns, so that a machine that gets slower or faster in the meantime does so for both.
   One process gives one figure; the differences of neighbours are what counts. The time of
   `import kcells` in a process that has imported Keras is given too, and the processor time
   of it: they have less noise, the last one even on a busy machine.
2. How long it takes to list 500 declared cells, in one distribution and in fifty, and
   what that adds to listing what is installed anyway: the first call of a process, a call
   after `refresh`, and a call while nothing has changed.

Times are wall-clock times of warm files; the first import of a machine's day takes longer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

CELLS = 500

IMPORT = """
import json, time
start = time.perf_counter()
import {first}
middle, work = time.perf_counter(), time.process_time()
import kcells
print(json.dumps([middle - start, time.perf_counter() - middle, time.process_time() - work]))
"""

LIST = """
import json, statistics, time
import kcells
from kcells import registry

def timed(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start

def again():
    registry.refresh()
    return timed(kcells.list_cells)

first = timed(kcells.list_cells)
print(json.dumps({
    "cells": len(kcells.list_cells()),
    "first call": first,
    "after refresh": statistics.median(again() for _ in range(5)),
    "cached call": statistics.median(timed(kcells.list_cells) for _ in range(50)),
    "describe, cached": statistics.median(timed(kcells.describe, "lstm") for _ in range(50)),
}))
"""


def measure(code: str, folder: Path | None = None) -> Any:
    """Runs code in a new process, with `folder` on its path; returns what it printed last."""
    path = [*([str(folder)] if folder else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure_import(repeats: int) -> dict[str, Any]:
    """Times `import keras` and `import kcells`, taking turns; who goes first alternates."""
    alone, both, inside, work = [], [], [], []
    for turn in range(-1, repeats):
        order = ("keras", "kcells") if turn % 2 else ("kcells", "keras")
        result = {first: measure(IMPORT.format(first=first)) for first in order}
        if turn < 0:
            continue  # warms the files up
        alone.append(result["keras"][0])
        inside.append(result["keras"][1])
        work.append(result["keras"][2])
        both.append(result["kcells"][0])
    pairs = list(zip(alone, both, strict=True))
    return {
        "import keras": summary(alone),
        "import kcells": summary(both),
        "difference": summary([b - a for a, b in pairs]),
        "ratio": summary([b / a for a, b in pairs]),
        "import kcells after keras": summary(inside),
        "the same, processor time": summary(work),
    }


def declare(folder: Path, distributions: int, cells: int) -> None:
    """Writes the metadata of plugins; there is no code, since listing imports none."""
    for d in range(distributions):
        name = f"kcells-plugin-many{d}"
        info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        lines = [f"cell_{d}_{c} = kcells_plugin_many{d}:Cell{c}" for c in range(cells)]
        (info / "entry_points.txt").write_text("\n".join(["[kcells.cells]", *lines]) + "\n")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: Many cells.\n"
            "Requires-Dist: kcells<1,>=0.1\nRequires-Dist: keras>=3.12\n"
        )


def measure_list(repeats: int) -> dict[str, Any]:
    """Times the listing of what is installed, and of 500 cells more."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        sites: dict[str, Path | None] = {"as installed": None}
        for distributions in (1, CELLS // 10):
            folder = Path(scratch) / str(distributions)
            declare(folder, distributions, CELLS // distributions)
            sites[f"+ {CELLS} cells in {distributions}"] = folder
        runs: dict[str, list[dict[str, float]]] = {label: [] for label in sites}
        for _ in range(repeats):
            for label, site in sites.items():
                runs[label].append(measure(LIST, site))
    for label, results in runs.items():
        rows[label] = {key: summary([r[key] for r in results]) for key in results[0]}
    return rows


def table(rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            entry.rjust(width) if k else entry.ljust(width)
            for k, (entry, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def milliseconds(figures: dict[str, float]) -> list[str]:
    return [f"{1000 * figures[key]:.2f}" for key in ("median", "min", "max")]


def report(result: dict[str, Any]) -> str:
    imports = result["import"]
    lines = [["", "median ms", "min", "max"]]
    lines += [[name, *milliseconds(imports[name])] for name in imports if name != "ratio"]
    ratio = [f"{imports['ratio'][key]:.3f}" for key in ("median", "min", "max")]
    parts = [
        f"Import, backend {result['backend']}, {result['repeats']} pairs of processes",
        table([*lines, ["ratio kcells / keras", *ratio]]),
        f"\nListing, {result['repeats']} processes each (median ms, min, max)",
    ]
    kinds = [key for key in next(iter(result["list"].values())) if key != "cells"]
    lines = [["", "cells", *(kind for kind in kinds)]]
    for label, row in result["list"].items():
        entries = ["{} ({} - {})".format(*milliseconds(row[kind])) for kind in kinds]
        lines.append([label, f"{row['cells']['median']:.0f}", *entries])
    return "\n".join([*parts, table(lines)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7, help="processes of each kind")
    parser.add_argument("--json", action="store_true", help="seconds, as JSON")
    options = parser.parse_args()
    result = {
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "python": sys.version.split()[0],
        "repeats": options.repeats,
        "import": measure_import(options.repeats),
        "list": measure_list(options.repeats),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if options.json else report(result))


if __name__ == "__main__":
    main()
