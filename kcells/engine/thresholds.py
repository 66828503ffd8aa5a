"""Where one way of running a loop becomes faster than another: measured, not derived.

`benchmarks/thresholds.py` measures both sides of those that are sizes. A machine of another
make has other values; each only costs or saves time, and never changes a result.
"""

from __future__ import annotations

import dataclasses

__all__ = ["THRESHOLDS", "Thresholds"]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Sizes of a step, in numbers of the state over the whole batch, unless it says otherwise.

    Attributes:
        jax_repeats_steps: from here on, the backward pass of a loop on a CPU computes every
            step once more: that is faster than reading back all that a step has computed.
        jax_linear_at_once: from so many numbers in a row of the inputs, for each row of the batch,
            a linear cell computes all steps at once on a CPU.
        torch_blocks: up to here, a linear recurrence on a CPU runs in blocks of steps: the
            calls take the time, and not the memory.
        torch_projects: the input side of a loop on a CPU is computed for so many steps at once
            that their states together have no more numbers: few calls where steps are small,
            and numbers that are still in the cache when they are used where they are large.
        torch_compile_seconds: so long has a loop to have run for its compiling to pay: about as
            long as that takes.
        products_ahead_in_training: from so many times the numbers of its results on that its
            weights have, a product of a step's inputs is computed before a loop of JAX or
            TensorFlow on a CPU, if a backward pass is to come.
        products_ahead_otherwise: the same where none is.
    """

    jax_repeats_steps: int = 2**13
    jax_linear_at_once: int = 1
    torch_blocks: int = 2**10
    torch_projects: int = 2**15
    torch_compile_seconds: float = 20.0
    products_ahead_in_training: int = 16
    products_ahead_otherwise: int = 256


THRESHOLDS = Thresholds()
