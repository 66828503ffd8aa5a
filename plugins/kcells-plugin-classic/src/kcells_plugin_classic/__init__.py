"""The recurrent cells that everybody compares with, for kcells."""

from kcells_plugin_classic.basic_lstm import BasicLSTMCell
from kcells_plugin_classic.basic_rnn import BasicRNNCell
from kcells_plugin_classic.bidirectional_grid_lstm import BidirectionalGridLSTMCell
from kcells_plugin_classic.cifg_lstm import CIFGLSTMCell
from kcells_plugin_classic.conv_gru import ConvGRUCell
from kcells_plugin_classic.conv_lstm import ConvLSTMCell
from kcells_plugin_classic.convolutional import ConvolutionalCell
from kcells_plugin_classic.glstm import GroupLSTMCell
from kcells_plugin_classic.grid_lstm import GridLSTMCell
from kcells_plugin_classic.gru_block import GRUBlockCell
from kcells_plugin_classic.gru_v1 import GRUV1Cell
from kcells_plugin_classic.gru_v3 import GRUV3Cell
from kcells_plugin_classic.indrnn import IndRNNCell
from kcells_plugin_classic.indy_gru import IndyGRUCell
from kcells_plugin_classic.indy_lstm import IndyLSTMCell
from kcells_plugin_classic.intersection_rnn import IntersectionRNNCell
from kcells_plugin_classic.lstm_block import LSTMBlockCell
from kcells_plugin_classic.lstmp import LSTMPCell
from kcells_plugin_classic.max_absolute import MaxAbsolute
from kcells_plugin_classic.nas import NASCell
from kcells_plugin_classic.phased_lstm import PhasedLSTMCell
from kcells_plugin_classic.time_freq_lstm import TimeFreqLSTMCell
from kcells_plugin_classic.ugrnn import UGRNNCell

__all__ = [
    "BasicLSTMCell",
    "BasicRNNCell",
    "BidirectionalGridLSTMCell",
    "CIFGLSTMCell",
    "ConvGRUCell",
    "ConvLSTMCell",
    "ConvolutionalCell",
    "GRUBlockCell",
    "GRUV1Cell",
    "GRUV3Cell",
    "GridLSTMCell",
    "GroupLSTMCell",
    "IndRNNCell",
    "IndyGRUCell",
    "IndyLSTMCell",
    "IntersectionRNNCell",
    "LSTMBlockCell",
    "LSTMPCell",
    "MaxAbsolute",
    "NASCell",
    "PhasedLSTMCell",
    "TimeFreqLSTMCell",
    "UGRNNCell",
]
