"""The floor: the products that the steps of a cell consist of, and nothing else.

For a cell with the matrices W_k of `rows_k` by `columns_k`, one step of a batch of B takes
`2 * B * rows_k * columns_k` floating-point operations for each, whatever else it does. The
floor multiplies random `(B, rows_k)` by `(rows_k, columns_k)`, once a step, in the same
backend and the same rounds: on TensorFlow and JAX in one XLA program, on PyTorch in a loop
of `torch.mm` into memory that is there. Training takes three times as many: the backward
pass has two products for each one of the forward pass.

A ratio to the floor says how much time goes to something else: to the operations between
products, to memory, and to Python. It is a yardstick, not a bound. A layer that projects
all inputs in one large product runs this part at a better rate than the floor's, a matrix
that a cell uses for something else than a product is counted as one, and on PyTorch the call of
a small product takes longer than the product.
"""

from __future__ import annotations

from kcells.bench import backends
from kcells.bench.contest import Contest
from kcells.bench.timing import Step

__all__ = ["PASSES", "floor_step"]

PASSES = {"train": 3, "layer": 3, "predict": 1}
"""How often each product is computed, by workload."""


def floor_step(case: Contest, workload: str) -> Step:
    """The products of one step of a workload.

    Raises:
        LookupError: if the cell has no matrix.
    """
    shapes = case.products()
    if not shapes:
        raise LookupError(f"{case.name} multiplies by no matrix")
    steps = PASSES[workload] * case.size.length
    step: Step = backends.current().products(shapes, case.size.batch, steps)
    return step
