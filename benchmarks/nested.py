"""The nested cell of the Keras guide, at the guide's sizes: here, and in Keras 2.

    python benchmarks/nested.py --backend tensorflow [--rounds 9] [--json FILE]

Batches of 64 with 50 steps of a vector of 32 and a matrix of 64 x 32; units 10, 20, 30. The
sides: the id `nested`; a cell with nothing but a `call`, as the guide writes it; on TensorFlow the
guide's cell in `tf_keras`; and the matrix products alone, one step after the other. A ratio is the
median of paired ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

SIZE, TINY = (64, 50, 32, 10), (2, 3, 4, 2)


def main() -> None:
    """Prints one line a side and workload."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", required=True, choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tiny size, to try the script")
    parser.add_argument("--json", type=Path, help="where to save the figures")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    rows = []
    for workload in ("train", "predict"):
        for row in measure(workload, TINY if arguments.quick else SIZE, arguments.rounds):
            rows.append(row)
            sys.stdout.write(
                f"{workload:<8} {row['side']:<16} {row['ms']:>8.2f} ms   ratio"
                f" {row['ratio']:.2f} over {row['over']}\n"
            )
            sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(workload: str, size: tuple[int, int, int, int], rounds: int) -> list[dict[str, Any]]:
    """One row a side."""
    import keras

    import kcells
    from kcells.bench.contest import Contest
    from kcells.bench.sides import SIDES, with_layer
    from kcells.bench.sizes import LoopSize
    from kcells.bench.timing import compare

    contest = Contest("nested", LoopSize(*size))
    only_a_call = with_layer(lambda case: kcells.RNN(guide_cell(size[-1]), compile="always"))
    sides = {
        "nested": SIDES["kcells"].step(contest, workload),
        "only a call": only_a_call(contest, workload),
        "products alone": SIDES["floor"].step(contest, workload),
    }
    others = ["products alone"]
    if keras.backend.backend() == "tensorflow":
        sides["tf_keras"] = SIDES["tf_keras"].step(contest, workload)
        others.append("tf_keras")
    times = compare(sides, rounds)
    return [
        {
            "workload": workload,
            "side": side,
            "ms": round(1e3 * times.median(side), 3),
            "over": other,
            "ratio": round(times.ratio(side, other).median, 3),
        }
        for other in others
        for side in ("nested", "only a call")
    ]


def guide_cell(units: int) -> Any:
    """Two running sums, of a projected vector and of a projected matrix."""
    import keras
    from keras import ops

    class Nested(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.state_size = self.output_size = [units, (2 * units, 3 * units)]

        def build(self, shapes: Any) -> None:
            vector, matrix = shapes
            self.vector_kernel = self.add_weight(shape=(vector[1], units), name="vector")
            kernel = (*matrix[1:], 2 * units, 3 * units)
            self.matrix_kernel = self.add_weight(shape=kernel, name="matrix")
            self.built = True

        def call(self, inputs: Any, states: Any) -> Any:
            vector, matrix = inputs
            outputs = [
                ops.matmul(vector, self.vector_kernel),
                ops.einsum("bij,ijkl->bkl", matrix, self.matrix_kernel),
            ]
            return outputs, [state + new for state, new in zip(states, outputs, strict=True)]

    return Nested()


if __name__ == "__main__":
    main()
