"""Layer-normalized recurrent cells for kcells."""

from kcells_plugin_layernorm.layer_norm_gru import LayerNormGRUCell
from kcells_plugin_layernorm.layer_norm_lstm import LayerNormLSTMCell
from kcells_plugin_layernorm.layer_norm_rnn import LayerNormRNNCell

__all__ = ["LayerNormGRUCell", "LayerNormLSTMCell", "LayerNormRNNCell"]
