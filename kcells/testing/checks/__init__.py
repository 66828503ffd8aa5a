"""The laws, in the order in which they are looked at: what others rest on comes first."""

from __future__ import annotations

from kcells.testing.checks.backends import backends
from kcells.testing.checks.configuration import arguments, clone, config
from kcells.testing.checks.constructor import survival, weight_arguments
from kcells.testing.checks.documentation import docstring
from kcells.testing.checks.gradients import finite_differences, gradients
from kcells.testing.checks.hooks import linear_recurrence, project_inputs
from kcells.testing.checks.layers import compiled, dynamic_shapes, stock, wrappers
from kcells.testing.checks.paths import equivalent, paths
from kcells.testing.checks.precision import mixed_precision
from kcells.testing.checks.randomness import dropout, inference, seeds, side_effects
from kcells.testing.checks.saving import registration, saving
from kcells.testing.checks.sequences import batch, causality, chunking, loop, mask
from kcells.testing.checks.shapes import initial_state, output_size, state_size
from kcells.testing.law import Law

__all__ = ["LAWS"]

LAWS: tuple[Law, ...] = (
    *(docstring, arguments, registration),
    *(state_size, output_size, initial_state),
    *(config, survival, weight_arguments, clone, saving),
    *(inference, side_effects, seeds, dropout),
    *(loop, mask, batch, causality, chunking),
    *(project_inputs, linear_recurrence, equivalent, paths),
    *(gradients, finite_differences, mixed_precision),
    *(wrappers, stock, compiled, dynamic_shapes, backends),
)
"""Every law, once."""
