"""Where one way of running a loop becomes faster than another: what engine/thresholds.py says.

    python benchmarks/thresholds.py --backend jax [--rounds 9] [--json FILE]

Every figure is the median of paired ratios of a training step: with what the threshold
switches on, over without. Below 1 it pays.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CASES = {
    # What is switched on, its threshold, and the cells that it is measured with.
    "jax": ("jax", "jax_repeats_steps", ("lstm", "gru", "ln_gru", "mlstm")),
    "torch": ("torch_linear", "torch_blocks", ("min_gru",)),
}
SIZES = ((1, 32), (1, 64), (2, 64), (4, 64), (8, 64), (8, 256), (32, 256), (64, 256))
LENGTH, FEATURES = 200, 32
QUICK = ((1, 4),)


def main() -> None:
    """Prints one row a cell and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", required=True, choices=tuple(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one tiny size, to try the script")
    parser.add_argument("--json", type=Path, help="where to save the figures")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    rows = []
    for row in measure(arguments.backend, QUICK if arguments.quick else SIZES, arguments.rounds):
        rows.append(row)
        sys.stdout.write(" ".join(f"{key} {value}" for key, value in row.items()) + "\n")
        sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(
    backend: str, sizes: tuple[tuple[int, int], ...], rounds: int
) -> Iterator[dict[str, Any]]:
    """One row a cell and size."""
    from kcells.bench.timing import compare

    module, threshold, cells = CASES[backend]
    for cell in cells:
        for batch, units in sizes:
            steps = {
                "with": training_step(cell, batch, units, module, threshold, on=True),
                "without": training_step(cell, batch, units, module, threshold, on=False),
            }
            times = compare(steps, rounds)
            yield {
                "threshold": threshold,
                "cell": cell,
                "size": f"{batch}x{LENGTH}x{FEATURES}x{units}",
                "with_ms": round(1e3 * times.median("with"), 3),
                "without_ms": round(1e3 * times.median("without"), 3),
                "ratio": round(times.ratio("with", "without").median, 3),
            }


def training_step(
    cell: str, batch: int, units: int, module: str, threshold: str, on: bool
) -> Callable[[], Any]:
    """`train_on_batch` of a model, always or never with what the threshold switches on."""
    import importlib

    import keras
    import numpy as np

    import kcells

    layer = kcells.build(cell, units, dispatch="never")
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, LENGTH, FEATURES)).astype("float32")
    y = rng.normal(size=(batch, 1)).astype("float32")
    backend = importlib.import_module(f"kcells.engine.backends.{module}")
    # One counts from its value on, the other up to it.
    always = 0 if threshold == "jax_repeats_steps" else 2**62
    value = always if on else 2**62 - always
    ours = dataclasses.replace(backend.THRESHOLDS, **{threshold: value})

    def step() -> Any:
        kept, backend.THRESHOLDS = backend.THRESHOLDS, ours
        try:
            return model.train_on_batch(x, y)
        finally:
            backend.THRESHOLDS = kept

    return step


if __name__ == "__main__":
    main()
