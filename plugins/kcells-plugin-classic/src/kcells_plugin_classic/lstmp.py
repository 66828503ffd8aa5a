"""The LSTM with peepholes, a recurrent projection and bounds."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, Reason, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor
from kcells_plugin_classic._declaring import lstm_weights, no_state_dropout

__all__ = ["LSTMPCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class LSTMPCell(StandardCell):
    """An LSTM with peepholes, whose output goes back through a smaller vector.

        i_t = sigmoid(W_i x_t + U_i r_{t-1} + p_i * c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + U_f r_{t-1} + p_f * c_{t-1} + b_f + forget_bias)
        g_t = activation(W_g x_t + U_g r_{t-1} + b_g)

        c_t = clip(f_t * c_{t-1} + i_t * g_t, cell_clip)
        o_t = sigmoid(W_o x_t + U_o r_{t-1} + p_o * c_t + b_o)

        r_t = clip(V (o_t * activation(c_t)), projection_clip)

    `clip(a, bound)` keeps `a` within `-bound` and `bound`. Without `projection` there is no
    `V`, and `r_t` is as large as `c_t`.

    Paper: Sak, Senior and Beaufays 2014, "Long Short-Term Memory Based Recurrent Neural
    Network Architectures for Large Vocabulary Speech Recognition", arXiv:1402.1128.

    Differences: the paper's second projection, which goes to the output alone, is not here;
    nor is its output layer. `cell_clip`, `projection_clip` and `forget_bias` are those of
    `LSTMCell` in `tf.contrib.rnn`, which has no peepholes by default. The paper writes no
    `forget_bias`; without it a cell forgets the half of what it holds at each step before it
    has learned anything. `torch.nn.LSTM` has a projection but no peepholes. Weights start as
    in Keras.

    Args:
        units: the size of `c`, a positive int.
        projection: the size of `r`, a positive int; None for no projection. Default: None.
        peepholes: whether the gates see the cell. Default: True, as in the paper.
        cell_clip: a positive bound for `c`, or None. Default: None.
        projection_clip: a positive bound for `r`, or None; needs `projection`.
            Default: None.
        activation: for the candidate and the output. Default: `"tanh"`.
        forget_bias: is added to the forget gate at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`. Those that begin with
            `recurrent_` are for `recurrent_kernel`, `peephole_kernel` and
            `projection_kernel`.

    Shapes: inputs `(batch, features)`; states `[r, c]`; `c` `(batch, units)`; `r` and the
    output, which is `r`, `(batch, projection)`. Weights: `kernel` `(features, 4 * units)`,
    `recurrent_kernel` `(projection, 4 * units)` and `bias` `(4 * units,)`, the blocks i, f,
    g, o; `peephole_kernel` `(3, units)`, the rows i, f, o; `projection_kernel`
    `(units, projection)`.

    Raises:
        ConfigurationError: if `units`, `projection`, a bound or a dropout rate is out of
            range, or for `projection_clip` without `projection`.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("lstmp", 8, projection=3, cell_clip=50.0, return_state=True)
    >>> output, r, c = layer(np.ones((2, 5, 4), "float32"))
    >>> tuple(output.shape), tuple(r.shape), tuple(c.shape)
    ((2, 3), (2, 3), (2, 8))
    """

    def __init__(
        self,
        units: int,
        projection: int | None = None,
        peepholes: bool = True,
        cell_clip: float | None = None,
        projection_clip: float | None = None,
        activation: Any = "tanh",
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.projection = None if projection is None else self.positive("projection", projection)
        self.peepholes = peepholes
        self.cell_clip = self._bound("cell_clip", cell_clip)
        self.projection_clip = self._bound("projection_clip", projection_clip)
        if projection is None and projection_clip is not None:
            raise ConfigurationError(
                f"LSTMPCell: projection_clip={projection_clip!r} bounds the projection, but"
                " there is none; pass projection=, or cell_clip= to bound the cell."
            )
        self.activation = activations.get(activation)
        self.forget_bias = forget_bias
        self.output_size = units if projection is None else projection
        self.state_size = [self.output_size, units]

    def _bound(self, name: str, value: float | None) -> float | None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and value > 0):
            raise ConfigurationError(
                f"LSTMPCell: {name} must be a positive float or None; received {value!r}."
            )
        return value

    @property
    def dropped_size(self) -> int:
        """The size of `r`."""
        return int(self.output_size)

    def add_weights(self, features: int) -> None:
        """Creates the matrices, and the peepholes if there are any."""
        width, size = 4 * self.units, self.dropped_size
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (size, width))
        self.bias = self.add("bias", (width,))
        self.peephole_kernel: Any = None
        self.projection_kernel: Any = None
        if self.peepholes:
            self.peephole_kernel = self.add("peephole_kernel", (3, self.units), "recurrent")
        if self.projection is not None:
            shape = (self.units, self.projection)
            self.projection_kernel = self.add("projection_kernel", shape, "recurrent")

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `r` and `[r, c]`."""
        r, c = states
        products = ops.matmul(self.dropped(r, training), self.recurrent_kernel)
        i, f, g, o = ops.split(projected + products, 4, axis=-1)
        if self.peephole_kernel is not None:
            i, f = i + self.peephole_kernel[0] * c, f + self.peephole_kernel[1] * c
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * self.activation(g)
        c = _clip(c, self.cell_clip)
        if self.peephole_kernel is not None:
            o = o + self.peephole_kernel[2] * c
        r = ops.sigmoid(o) * self.activation(c)
        if self.projection_kernel is not None:
            r = _clip(ops.matmul(r, self.projection_kernel), self.projection_clip)
        return r, [r, c]

    def equivalent(self) -> Equivalence:
        """`keras.layers.LSTM`, without peepholes, projection and bounds."""
        conditions = [
            Reason("there are no peepholes", not self.peepholes, f"peepholes={self.peepholes}"),
            Reason(
                "the output is not projected",
                self.projection is None,
                f"projection={self.projection}",
            ),
            Reason("the cell has no bound", self.cell_clip is None, f"cell_clip={self.cell_clip}"),
            no_state_dropout(self),
        ]
        arguments = {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "dropout": self.dropout,
        }
        return Equivalence("lstm", conditions, arguments, lambda: lstm_weights(self))

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        bounds = {"cell_clip": 0.4, "projection_clip": 0.1, "forget_bias": 0.0}
        return Card(
            [
                Case({"units": 4}, name="peepholes"),
                Case({"units": 4, "projection": 2, **bounds}, name="projection and bounds"),
                Case({"units": 4, "peepholes": False, "use_bias": False}, name="an LSTM"),
            ],
            others={"projection": 2, "cell_clip": 3.0, "projection_clip": 2.0, "forget_bias": 0.5},
            gates="input, forget, output",
            also_in="torchrecurrent",
        )


def _clip(values: Tensor, bound: float | None) -> Tensor:
    return values if bound is None else ops.clip(values, -bound, bound)
