"""kcells.build("lstm") and ("gru") against Keras' own layers, and torch.nn's, in one run.

    python benchmarks/dispatch.py --backend torch [--rounds 15] [--json FILE]

Every figure is the median of paired ratios: in each round both sides run, one right after
the other, in an order that alternates. Below 1 kcells is faster. Three workloads:

- train: `train_on_batch` of a model of the layer and a Dense(1);
- predict: `predict_on_batch` of the same model;
- layer (torch): forward and backward pass of the layer alone, against torch.nn.LSTM or GRU.

With `--loop` the other side is kcells' own loop over the same cell, which shows on a GPU
what the kernel gains.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SIZES = ((64, 100, 64, 256), (32, 100, 256, 256), (8, 200, 32, 64), (1, 200, 32, 64))
QUICK_SIZES = ((4, 10, 8, 16),)


def main() -> None:
    """Runs the benchmark for one backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one tiny size, to try the script")
    parser.add_argument("--loop", action="store_true", help="against kcells' own loop")
    parser.add_argument("--json", type=Path, help="where to save the figures")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    rows = []
    for row in measure(QUICK_SIZES if arguments.quick else SIZES, arguments.rounds, arguments.loop):
        if not rows:
            _print(f"{key:>12}" for key in row)
        rows.append(row)
        _print(f"{_shown(value):>12}" for value in row.values())
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


def _print(columns: Iterable[str]) -> None:
    sys.stdout.write(" ".join(columns) + "\n")
    sys.stdout.flush()


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import keras

    import kcells

    device = kcells.explain(kcells.build("lstm", 1)).device
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}",
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
    }


def measure(
    sizes: tuple[tuple[int, ...], ...], rounds: int, loop: bool
) -> Iterator[dict[str, Any]]:
    """One row of figures a cell, size and workload."""
    from kcells.bench.timing import compare

    for name in ("lstm", "gru"):
        for size in sizes:
            for workload, (ours, theirs) in pairs(name, size, loop):
                times = compare({"ours": ours, "other": theirs}, rounds)
                yield {
                    "cell": name,
                    "size": "x".join(map(str, size)),
                    "workload": workload,
                    "ours_ms": times.median("ours") * 1e3,
                    "other_ms": times.median("other") * 1e3,
                    "ratio": times.ratio("ours", "other").median,
                }


Pair = tuple[Callable[[], Any], Callable[[], Any]]


def pairs(name: str, size: tuple[int, ...], loop: bool) -> Iterator[tuple[str, Pair]]:
    """The workloads, each as something to run of ours and something of theirs."""
    import keras
    import numpy as np

    import kcells

    batch, length, features, units = size
    rng = np.random.default_rng(0)
    x = keras.ops.convert_to_tensor(rng.normal(size=(batch, length, features)).astype("float32"))
    y = keras.ops.convert_to_tensor(rng.normal(size=(batch, 1)).astype("float32"))
    stock = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[name]

    def model(layer: keras.layers.Layer) -> keras.Model:
        made = keras.Sequential([keras.Input((length, features)), layer, keras.layers.Dense(1)])
        made.compile("sgd", "mse")
        return made

    def other() -> keras.layers.Layer:
        return kcells.build(name, units, dispatch="never") if loop else stock(units)

    ours, theirs = model(kcells.build(name, units)), model(other())
    yield "train", (lambda: _done(ours.train_on_batch(x, y)), lambda: theirs.train_on_batch(x, y))
    yield "predict", (lambda: ours.predict_on_batch(x), lambda: theirs.predict_on_batch(x))
    if keras.backend.backend() == "torch" and not loop:
        yield "layer", layers_alone(name, units, x)


def layers_alone(name: str, units: int, x: Any) -> Pair:
    """Forward and backward pass of the layer and of torch's module."""
    import torch

    import kcells

    layer = kcells.build(name, units, return_sequences=True)
    layer.build(tuple(x.shape))
    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name](
        x.shape[-1], units, batch_first=True
    ).to(x.device)

    def ours() -> None:
        layer(x).sum().backward()
        _done(x)

    def theirs() -> None:
        module(x)[0].sum().backward()
        _done(x)

    return ours, theirs


def _done(result: Any) -> Any:
    """Waits for a GPU."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return result


if __name__ == "__main__":
    main()
