"""A recurrent layer in plain NumPy, float64, written from the semantics alone.

It shares no code with kcells: structures are dicts of arrays here, and the loop below
is the definition that the layers are held to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def run(
    step: Callable[[Arrays, Arrays], tuple[Arrays, Arrays]],
    inputs: Arrays,
    states: Arrays,
    mask: np.ndarray | None = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
) -> tuple[Arrays, Arrays, Arrays]:
    """Runs `step` sample by sample, so that no mask has to be broadcast.

    Returns:
        The outputs of all steps in the order in which they are computed, those of the
        last step, and the final states.
    """
    batch, time = next(iter(inputs.values())).shape[:2]
    sequences, finals = [], []
    for sample in range(batch):
        state = {key: value[sample] for key, value in states.items()}
        probe, _ = step({key: value[sample, 0] for key, value in inputs.items()}, state)
        zeros = {key: np.zeros_like(value) for key, value in probe.items()}
        last, outputs = zeros, []
        for t in reversed(range(time)) if go_backwards else range(time):
            if mask is None or mask[sample, t]:
                now = {key: value[sample, t] for key, value in inputs.items()}
                output, state = step(now, state)
                last = output
            else:
                output = zeros if zero_output_for_mask else last
            outputs.append(output)
        sequences.append(outputs)
        finals.append(state)
    all_steps = {
        key: np.array([[out[key] for out in outputs] for outputs in sequences])
        for key in sequences[0][0]
    }
    last_step = {key: value[:, -1] for key, value in all_steps.items()}
    final = {key: np.array([state[key] for state in finals]) for key in finals[0]}
    return all_steps, last_step, final


def flat(structure: Any) -> list[np.ndarray]:
    """The arrays of a dict in the order of its keys."""
    return [structure[key] for key in sorted(structure)]
