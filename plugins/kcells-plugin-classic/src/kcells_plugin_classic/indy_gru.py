"""The IndyGRU: each unit sees of the state nothing but itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, Learning, StandardCell
from kcells.types import Tensor
from kcells_plugin_classic._starting import gates_at_one

__all__ = ["IndyGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class IndyGRUCell(StandardCell):
    """A GRU with vectors in the place of its recurrent matrices.

        z_t = sigmoid(W_z x_t + u_z * h_{t-1} + b_z)
        r_t = sigmoid(W_r x_t + u_r * h_{t-1} + b_r)
        g_t = activation(W_g x_t + u_g * r_t * h_{t-1} + b_g)

        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

    Whether the reset gate acts before the product or after it is the same here. Units meet
    in the next layer alone, so layers are meant to be stacked.

    Paper: Gonnet and Deselaers 2019, "IndyLSTMs: Independently Recurrent LSTMs",
    arXiv:1903.08023, from which `IndyGRUCell` of `tf.contrib.rnn` takes the idea to the
    GRU of Cho et al. 2014, arXiv:1406.1078.

    Differences: the papers do not have this cell; it is that of `tf.contrib.rnn`, whose
    blocks are r, z and g. Vectors and biases start as there.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_initializer: for `recurrent_kernel`. Default: None, uniform from -1 to 1.
        bias_initializer: for `bias`. Default: None, one for the gates, zero for the candidate.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`; `recurrent_kernel`, which
    is `u`, and `bias`, `(3 * units,)`, all with the blocks z, r, g.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("indy_gru", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_kernel': (12,), 'bias': (12,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_initializer: Any = None,
        bias_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        if recurrent_initializer is None:
            recurrent_initializer = initializers.RandomUniform(-1.0, 1.0)
        initial = {
            "recurrent_initializer": recurrent_initializer,
            "bias_initializer": bias_initializer,
        }
        super().__init__(units, **initial, **kwargs)
        self.activation = activations.get(activation)

    def add_weights(self, features: int) -> None:
        """Creates `kernel`, `recurrent_kernel` and `bias`."""
        width = 3 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (width,))
        self.bias = self.add("bias", (width,), initializer=self.bias_initializer or gates_at_one)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = ops.tile(self.dropped(h, training), (1, 3)) * self.recurrent_kernel
        x_z, x_r, x_g = ops.split(projected, 3, axis=-1)
        h_z, h_r, h_g = ops.split(seen, 3, axis=-1)
        z, r = ops.sigmoid(x_z + h_z), ops.sigmoid(x_r + h_r)
        h = z * h + (1 - z) * self.activation(x_g + r * h_g)
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "use_bias": False}, name="no biases"),
            ],
            gates="update, reset",
            learning=Learning(depth=2),
        )
