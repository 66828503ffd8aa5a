"""Cells of others, as they are: what fails, fails for a reason that is true of the cell.

Those of Keras, and two of ncps, which has nothing to do with kcells.
"""

from __future__ import annotations

import keras
import pytest
from ncps.keras import CfCCell, LTCCell
from ncps.wirings import FullyConnected

from kcells.testing import parametrize_with_checks

# `paths` compiles every way of running a cell: for cells of Keras, tests/engine does too.
SLOW = {"saving": pytest.mark.slow, "paths": pytest.mark.slow}
MORE_OF_KERAS = [keras.layers.LSTMCell, keras.layers.SimpleRNNCell]

_LOADED = "a wiring comes back from a configuration as a dict, on which the cell cannot be built"
LTC_FAILURES = {
    "docstring": "it stands at the constructor",
    "arguments": "initialization_ranges is not in get_config",
    "config": _LOADED,
    "clone": _LOADED,
    "saving": _LOADED,
    "wrappers": _LOADED,
    "seeds": "the wiring draws from a generator of NumPy that it keeps",
    "finite_differences": "weights are float32 under every dtype policy",
}
if keras.backend.backend() != "torch":
    # There the product keeps the dtype, since it is computed in place.
    LTC_FAILURES["mixed_precision"] = "it multiplies with a mask that is always float32"
"""What the kit finds out about `LTCCell` of ncps 1.0.1."""


@parametrize_with_checks(
    [keras.layers.GRUCell, (CfCCell, {"arguments": {"units": 4, "backbone_units": 8}})],
    {CfCCell: {"docstring": "it stands at the constructor"}},
    marks=SLOW,
)
def test_strangers(check):
    check()


@pytest.mark.slow
@parametrize_with_checks(
    [*MORE_OF_KERAS, (LTCCell, {"arguments": {"wiring": FullyConnected(4)}})],
    {LTCCell: LTC_FAILURES},
)
def test_more_strangers(check):
    check()
