"""Multiplicative recurrent cells for kcells."""

from kcells_plugin_mlstm.integration_gru import IntegrationGRUCell
from kcells_plugin_mlstm.integration_lstm import IntegrationLSTMCell
from kcells_plugin_mlstm.integration_rnn import IntegrationRNNCell
from kcells_plugin_mlstm.multiplicative_gru import MultiplicativeGRUCell
from kcells_plugin_mlstm.multiplicative_lstm import MultiplicativeLSTMCell
from kcells_plugin_mlstm.multiplicative_rnn import MultiplicativeRNNCell

__all__ = [
    "IntegrationGRUCell",
    "IntegrationLSTMCell",
    "IntegrationRNNCell",
    "MultiplicativeGRUCell",
    "MultiplicativeLSTMCell",
    "MultiplicativeRNNCell",
]
