"""What goes around a recurrent cell, for kcells."""

from kcells_plugin_wrappers.highway import HighwayCell
from kcells_plugin_wrappers.layer_norm import LayerNormCell
from kcells_plugin_wrappers.projection import InputProjectionCell, OutputProjectionCell
from kcells_plugin_wrappers.residual import ResidualCell

__all__ = [
    "HighwayCell",
    "InputProjectionCell",
    "LayerNormCell",
    "OutputProjectionCell",
    "ResidualCell",
]
