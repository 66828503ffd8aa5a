"""Gated and other recurrent cells of the literature for kcells."""

from kcells_plugin_gated.antisymmetric_rnn import AntisymmetricRNNCell
from kcells_plugin_gated.atr import ATRCell
from kcells_plugin_gated.block_gru import BlockGRUCell
from kcells_plugin_gated.br import BRCell
from kcells_plugin_gated.cfn import CFNCell
from kcells_plugin_gated.dsgu import DSGUCell
from kcells_plugin_gated.elstm import ELSTMCell
from kcells_plugin_gated.gated_antisymmetric_rnn import GatedAntisymmetricRNNCell
from kcells_plugin_gated.light_ru import LightRUCell
from kcells_plugin_gated.lipschitz_rnn import LipschitzRNNCell
from kcells_plugin_gated.mclstm import MCLSTMCell
from kcells_plugin_gated.mgu1 import MGU1Cell
from kcells_plugin_gated.mgu2 import MGU2Cell
from kcells_plugin_gated.mgu3 import MGU3Cell
from kcells_plugin_gated.minimal_rnn import MinimalRNNCell
from kcells_plugin_gated.miru1 import MiRU1Cell
from kcells_plugin_gated.miru2 import MiRU2Cell
from kcells_plugin_gated.mut1 import MUT1Cell
from kcells_plugin_gated.mut2 import MUT2Cell
from kcells_plugin_gated.mut3 import MUT3Cell
from kcells_plugin_gated.nbr import NBRCell
from kcells_plugin_gated.original_lstm import OriginalLSTMCell
from kcells_plugin_gated.plrnn import PLRNNCell
from kcells_plugin_gated.ran import RANCell
from kcells_plugin_gated.res_lstm import ResLSTMCell
from kcells_plugin_gated.scrn import SCRNCell
from kcells_plugin_gated.sgrn import SGRNCell
from kcells_plugin_gated.sgu import SGUCell
from kcells_plugin_gated.srnn import SRNNCell
from kcells_plugin_gated.star import STARCell
from kcells_plugin_gated.tau_gru import TauGRUCell
from kcells_plugin_gated.tgru import TGRUCell
from kcells_plugin_gated.tlstm import TLSTMCell
from kcells_plugin_gated.trnn import TRNNCell
from kcells_plugin_gated.wmclstm import WMCLSTMCell

__all__ = [
    "ATRCell",
    "AntisymmetricRNNCell",
    "BRCell",
    "BlockGRUCell",
    "CFNCell",
    "DSGUCell",
    "ELSTMCell",
    "GatedAntisymmetricRNNCell",
    "LightRUCell",
    "LipschitzRNNCell",
    "MCLSTMCell",
    "MGU1Cell",
    "MGU2Cell",
    "MGU3Cell",
    "MUT1Cell",
    "MUT2Cell",
    "MUT3Cell",
    "MiRU1Cell",
    "MiRU2Cell",
    "MinimalRNNCell",
    "NBRCell",
    "OriginalLSTMCell",
    "PLRNNCell",
    "RANCell",
    "ResLSTMCell",
    "SCRNCell",
    "SGRNCell",
    "SGUCell",
    "SRNNCell",
    "STARCell",
    "TGRUCell",
    "TLSTMCell",
    "TRNNCell",
    "TauGRUCell",
    "WMCLSTMCell",
]
