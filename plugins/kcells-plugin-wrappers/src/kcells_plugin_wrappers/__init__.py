"""What goes around a recurrent cell, for kcells."""

from kcells_plugin_wrappers.attention import AttentionCell
from kcells_plugin_wrappers.attention_window import AttentionWindowCell
from kcells_plugin_wrappers.device import DeviceCell
from kcells_plugin_wrappers.dropout import DropoutCell
from kcells_plugin_wrappers.embedding import EmbeddingCell
from kcells_plugin_wrappers.fast_slow import FastSlowCell
from kcells_plugin_wrappers.feedback import FeedbackCell
from kcells_plugin_wrappers.highway import HighwayCell
from kcells_plugin_wrappers.layer_norm import LayerNormCell
from kcells_plugin_wrappers.multiplicative import MultiplicativeCell
from kcells_plugin_wrappers.projection import InputProjectionCell, OutputProjectionCell
from kcells_plugin_wrappers.residual import ResidualCell
from kcells_plugin_wrappers.score import Score
from kcells_plugin_wrappers.scores import Bahdanau, Location, Luong, Monotonic
from kcells_plugin_wrappers.zoneout import ZoneoutCell

__all__ = [
    "AttentionCell",
    "AttentionWindowCell",
    "Bahdanau",
    "DeviceCell",
    "DropoutCell",
    "EmbeddingCell",
    "FastSlowCell",
    "FeedbackCell",
    "HighwayCell",
    "InputProjectionCell",
    "LayerNormCell",
    "Location",
    "Luong",
    "Monotonic",
    "MultiplicativeCell",
    "OutputProjectionCell",
    "ResidualCell",
    "Score",
    "ZoneoutCell",
]
