"""Where one way of running a loop becomes faster than another: what engine/thresholds.py says.

    python benchmarks/thresholds.py --backend jax [--rounds 9] [--json FILE]

Every figure is the median of paired ratios: with what the threshold switches on, over without.
Below 1 it pays.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LENGTH = 200
NEVER = 2**62
STEPS = ((1, 32, 32), (1, 32, 64), (2, 32, 64), (4, 32, 64), (8, 32, 64), (8, 32, 256))
STEPS += ((32, 32, 256), (64, 32, 256))
PRODUCTS = ((8, 32, 64), (32, 256, 256), (8, 128, 64), (8, 256, 64), (32, 512, 64))
PRODUCTS += ((16, 512, 256), (64, 2048, 64), (1, 512, 256))
QUICK = ((1, 2, 4),)


@dataclasses.dataclass(frozen=True)
class Case:
    """A threshold, and what shows both sides of it.

    Attributes:
        threshold: its name.
        module: where it is read.
        cells: their ids.
        sizes: batch, features, units.
        counts_up: whether it switches something on up to its value, and not from there on.
        workload: `"train"` or `"predict"`.
    """

    threshold: str
    module: str
    cells: tuple[str, ...]
    sizes: tuple[tuple[int, int, int], ...] = STEPS
    counts_up: bool = False
    workload: str = "train"


_AHEAD = (
    Case("products_ahead_in_training", "engine.products", ("lstm", "ln_gru"), PRODUCTS),
    Case(
        "products_ahead_otherwise",
        "engine.products",
        ("lstm", "ln_gru"),
        PRODUCTS,
        workload="predict",
    ),
)
CASES = {
    "jax": (
        Case("jax_repeats_steps", "engine.backends.jax", ("lstm", "gru", "ln_gru", "mlstm")),
        *_AHEAD,
    ),
    "tensorflow": _AHEAD,
    "torch": (Case("torch_blocks", "engine.backends.torch_linear", ("min_gru",), counts_up=True),),
}


def main() -> None:
    """Prints one row a cell and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", required=True, choices=tuple(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="one threshold, by its name")
    parser.add_argument("--quick", action="store_true", help="one tiny size, to try the script")
    parser.add_argument("--json", type=Path, help="where to save the figures")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    rows = []
    for case in CASES[arguments.backend]:
        if arguments.only not in ("", case.threshold):
            continue
        if arguments.quick:
            case = dataclasses.replace(case, sizes=QUICK)
        for row in measure(case, arguments.rounds):
            rows.append(row)
            sys.stdout.write(" ".join(f"{key} {value}" for key, value in row.items()) + "\n")
            sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(case: Case, rounds: int) -> Iterator[dict[str, Any]]:
    """One row a cell and size."""
    from kcells.bench.timing import compare

    for cell in case.cells:
        for size in case.sizes:
            steps = {
                "with": one_step(case, cell, size, on=True),
                "without": one_step(case, cell, size, on=False),
            }
            times = compare(steps, rounds)
            batch, features, units = size
            yield {
                "threshold": case.threshold,
                "cell": cell,
                "size": f"{batch}x{LENGTH}x{features}x{units}",
                "with_ms": round(1e3 * times.median("with"), 3),
                "without_ms": round(1e3 * times.median("without"), 3),
                "ratio": round(times.ratio("with", "without").median, 3),
            }


def one_step(case: Case, cell: str, size: tuple[int, int, int], on: bool) -> Callable[[], Any]:
    """What is timed: a model, always or never with what the threshold switches on."""
    import keras
    import numpy as np

    import kcells

    batch, features, units = size
    layer = kcells.build(cell, units, dispatch="never")
    model = keras.Sequential([keras.Input((LENGTH, features)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, LENGTH, features)).astype("float32")
    y = rng.normal(size=(batch, 1)).astype("float32")
    module = importlib.import_module(f"kcells.{case.module}")
    value = NEVER if on == case.counts_up else 0
    ours = dataclasses.replace(module.THRESHOLDS, **{case.threshold: value})

    def step() -> Any:
        kept, module.THRESHOLDS = module.THRESHOLDS, ours
        try:
            if case.workload == "predict":
                return model.predict_on_batch(x)
            return model.train_on_batch(x, y)
        finally:
            module.THRESHOLDS = kept

    return step


if __name__ == "__main__":
    main()
