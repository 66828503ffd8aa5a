"""The quasi-recurrent network, one step wide: pooling under gates of the inputs.

A convolution over several steps would see inputs before this one, which a cell does not
have, and which a state cannot bring: gates that depend on a state are not linear in it.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import activations, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["QRNNCell"]

_BLOCKS = {"f": 2, "fo": 3, "ifo": 4}


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class QRNNCell(InputCell):
    """A gated sum over time, of which candidate and gates see the inputs alone.

        z_t = activation(W_z x_t + b_z)
        f_t, o_t, i_t = sigmoid(W_k x_t + b_k)   for k in f, o, i

        pooling="f":    h_t = c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        pooling="fo":   c_t = f_t * c_{t-1} + (1 - f_t) * z_t
                        h_t = o_t * c_t
        pooling="ifo":  c_t = f_t * c_{t-1} + i_t * z_t
                        h_t = o_t * c_t

    The cell is linear in its state, and all steps can be computed at once.

    Paper: Bradbury, Merity, Xiong and Socher 2016, "Quasi-Recurrent Neural Networks",
    arXiv:1611.01576, section 2.

    Differences: the paper's products are convolutions over `k` steps; this is `k=1`. For
    more, put a `keras.layers.Conv1D` with `padding="causal"` in front. The paper's equations
    have no biases: `use_bias=False`. Its zoneout is not here. In the authors' PyTorch code
    `f` and `1 - f` change places.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        pooling: `"f"`, `"fo"` or `"ifo"`, the gates that there are. Default: `"fo"`.
        use_bias: whether there are biases. Default: True.
        kernel_initializer: for `kernel`. Default: `"glorot_uniform"`.
        bias_initializer: for `bias`. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for `kernel` and `bias`. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for the dropout mask, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: inputs `(batch, features)`; states `[c]`; `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, n * units)` and `bias` `(n * units,)`, the
    first n of the blocks z, f, o, i: 2, 3 or 4.

    Raises:
        ConfigurationError: if `units`, `pooling` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import QRNNCell
    >>> layer = kcells.RNN(QRNNCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'bias': (12,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        pooling: Literal["f", "fo", "ifo"] = "fo",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if pooling not in _BLOCKS:
            raise ConfigurationError(
                f'QRNNCell: pooling must be "f", "fo" or "ifo"; received {pooling!r}.'
            )
        self.activation = activations.get(activation)
        self.pooling = pooling

    def add_weights(self, features: int) -> None:
        """Makes both weights: a block for the candidate, and one for each letter of `pooling`."""
        self.kernel = self.add("kernel", (features, _BLOCKS[self.pooling] * self.units))
        self.bias = self.add("bias", (_BLOCKS[self.pooling] * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the state is multiplied by, what is added, and the output gate if there is one."""
        products = super().project_inputs(inputs, training)
        z, f, *others = ops.split(products, _BLOCKS[self.pooling], axis=-1)
        opened = [ops.sigmoid(gate) for gate in others]
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        i = opened.pop() if self.pooling == "ifo" else ops.sigmoid(-f)
        return [ops.sigmoid(f), i * self.activation(z), *opened]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`c_t = kept_t * c_{t-1} + new_t`, of which a gate may read out a part."""

        def read_out(states: list[Tensor], projected: list[Tensor]) -> Tensor:
            return states[0] if self.pooling == "f" else projected[2] * states[0]

        return LinearRecurrence([projected[0]], [projected[1]], read_out)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [Case({"units": 4, "pooling": pooling}, name=pooling) for pooling in _BLOCKS],
            others={"pooling": "ifo"},
            gates="forget, output",
            learning=Learning(depth=2),
        )
