"""What `kcells.generate` saves: side by side with a loop of Python over the same streaming model.

    python benchmarks/generate.py --backend torch [--rounds 9] [--json FILE]

An embedding, an LSTM and scores for 64 ids. Each figure is microseconds a step, the median over
rounds in which all sides take turns; the ratio is the median of paired ones, below 1 where
`generate` is faster. A search with several rows has no loop beside it: it is set against the
greedy one of a single row.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

IDS, LENGTH = 64, 100


def main() -> None:
    """Prints one line a side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", required=True, choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="where to save the figures")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    rows = measure(arguments.units, arguments.rounds)
    for row in rows:
        sys.stdout.write(
            f"{row['side']:<28} {row['microseconds']:>9,.0f} us a step   ratio"
            f" {row['ratio']:.3f} over {row['over']}\n"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(units: int, rounds: int) -> list[dict[str, Any]]:
    """One row a side."""
    from kcells.bench.timing import compare
    from kcells.decoding import Beam

    stream = streaming_model(units)
    sides = {
        "a loop of Python": by_hand(stream),
        "greedy, one row": generated(stream, 1, "greedy"),
        "Beam(5), one row": generated(stream, 1, Beam(5)),
        "greedy, 32 rows": generated(stream, 32, "greedy"),
    }
    times = compare(sides, rounds)
    rows = []
    for side in sides:
        loop = side in ("a loop of Python", "greedy, one row")
        over = "a loop of Python" if loop else "greedy, one row"
        rows.append(
            {
                "side": side,
                "microseconds": round(1e6 * times.median(side) / LENGTH, 1),
                "over": over,
                "ratio": round(times.ratio(side, over).median, 4),
            }
        )
    return rows


def streaming_model(units: int) -> Any:
    """From ids to scores, one time step a call."""
    import keras

    import kcells

    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(IDS, units),
            kcells.build("lstm", units, return_sequences=True),
            keras.layers.Dense(IDS),
        ]
    )
    return kcells.to_streaming(model)


def by_hand(stream: Any) -> Callable[[], Any]:
    """What one writes without `generate`."""
    import numpy as np
    from keras import ops

    def run() -> list[int]:
        states, last, found = stream.initial_states(1), np.array([1], "int32"), []
        for _ in range(LENGTH):
            given = stream({"inputs": last, "states": states})
            states = given["states"]
            last = ops.convert_to_numpy(ops.argmax(given["outputs"], axis=-1)).astype("int32")
            found.append(int(last[0]))
        return found

    return run


def generated(stream: Any, batch: int, choose: Any) -> Callable[[], Any]:
    """The same, and more, by `generate`."""
    import numpy as np
    from keras import ops

    import kcells

    start = np.ones(batch, "int32")

    def run() -> Any:
        result = kcells.generate(stream, None, start, LENGTH, choose=choose)
        return ops.convert_to_numpy(result.outputs)

    return run


if __name__ == "__main__":
    main()
