"""Layer-normalized recurrent cells for kcells."""

from kcells_plugin_layernorm.layer_norm_gru import LayerNormGRUCell

__all__ = ["LayerNormGRUCell"]
