"""Recurrent cells of 2016 to 2024 for kcells."""

from kcells_plugin_modern.cfc import CfCCell
from kcells_plugin_modern.cornn import CoRNNCell
from kcells_plugin_modern.esn import ESNCell
from kcells_plugin_modern.fast_grnn import FastGRNNCell
from kcells_plugin_modern.fast_rnn import FastRNNCell
from kcells_plugin_modern.janet import JANETCell
from kcells_plugin_modern.lem import LEMCell
from kcells_plugin_modern.li_gru import LiGRUCell
from kcells_plugin_modern.lmu import LMUCell
from kcells_plugin_modern.ltc import LTCCell
from kcells_plugin_modern.mgu import MGUCell
from kcells_plugin_modern.nested_lstm import NestedLSTMCell
from kcells_plugin_modern.on_lstm import ONLSTMCell
from kcells_plugin_modern.rhn import RHNCell
from kcells_plugin_modern.slstm import SLSTMCell
from kcells_plugin_modern.unicornn import UnICORNNCell
from kcells_plugin_modern.xlstm_mlstm import XLSTMmLSTMCell

__all__ = [
    "CfCCell",
    "CoRNNCell",
    "ESNCell",
    "FastGRNNCell",
    "FastRNNCell",
    "JANETCell",
    "LEMCell",
    "LMUCell",
    "LTCCell",
    "LiGRUCell",
    "MGUCell",
    "NestedLSTMCell",
    "ONLSTMCell",
    "RHNCell",
    "SLSTMCell",
    "UnICORNNCell",
    "XLSTMmLSTMCell",
]
