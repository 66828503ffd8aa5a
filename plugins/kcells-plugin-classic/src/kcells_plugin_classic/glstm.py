"""The group LSTM: gates that see a part of the inputs and of the state."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, Learning, Reason, StandardCell
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Tensor
from kcells_plugin_classic._declaring import lstm_weights, no_state_dropout

__all__ = ["GroupLSTMCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-classic")
class GroupLSTMCell(StandardCell):
    """An LSTM in groups, each of which sees its part of the inputs and of the state.

        (i^k; f^k; g^k; o^k) = W^k x^k_t + U^k h^k_{t-1} + b^k     for each group k

        c_t = sigmoid(f + forget_bias) * c_{t-1} + sigmoid(i) * activation(g)
        h_t = V (sigmoid(o) * activation(c_t))

    `x^k` and `h^k` are the k-th of `groups` equal parts, and `i` is all `i^k`, one after the
    other. With `groups` parts there are as many times fewer weights. `V` is the one place
    where groups meet; without `projection` there is none, and they meet in the next layer.

    Paper: Kuchaiev and Ginsburg 2017, "Factorization tricks for LSTM networks",
    arXiv:1703.10722, the group LSTM.

    Differences: the paper always projects. Each group has a matrix of its own, as in the paper;
    so it is in `GLSTMCell` of `tf.contrib.rnn`, but for some versions around TensorFlow 1.5, in
    which by mistake all groups share one (tensorflow issue 16703). The paper has no
    `forget_bias`; that cell and the authors' code have 1. Without projection the cell is an
    LSTM whose matrices are zero outside of blocks.

    Args:
        units: the size of `c`, a positive int.
        groups: how many groups there are, a positive int that divides `units`, `projection`
            and the features. Default: 2.
        projection: the size of `h`, a positive int; None for no projection. Default: None.
        activation: for the candidate and the output. Default: `"tanh"`.
        forget_bias: is added to the forget gate at every step. Default: 1.
        **kwargs: the other arguments of `kcells.StandardCell`. Those that begin with
            `recurrent_` are for `recurrent_kernel` and `projection_kernel`.

    Shapes: inputs `(batch, features)`; states `[h, c]`; `c` `(batch, units)`; `h` and the
    output, which is `h`, `(batch, projection)`. Weights: `kernel`
    `(features, 4 * units / groups)` and `recurrent_kernel`
    `(projection, 4 * units / groups)`, a group below the other, each with the blocks i, f,
    g, o; `bias` `(4 * units,)`, the blocks i, f, g, o; `projection_kernel`
    `(units, projection)`.

    Raises:
        ConfigurationError: if `units`, `groups`, `projection` or a dropout rate is out of
            range, or `groups` does not divide the others.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`, or
            `groups` does not divide the features.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("glstm", 8, groups=4, return_state=True)
    >>> output, h, c = layer(np.ones((2, 5, 12), "float32"))
    >>> [tuple(weight.shape) for weight in layer.weights]
    [(12, 8), (8, 8), (32,)]
    """

    def __init__(
        self,
        units: int,
        groups: int = 2,
        projection: int | None = None,
        activation: Any = "tanh",
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.groups = self.positive("groups", groups)
        self.projection = None if projection is None else self.positive("projection", projection)
        self.activation = activations.get(activation)
        self.forget_bias = forget_bias
        self.output_size = units if projection is None else projection
        self.state_size = [self.output_size, units]
        for name, size in (("units", units), ("projection", self.output_size)):
            if size % groups:
                raise ConfigurationError(
                    f"GroupLSTMCell: {name} must be a multiple of groups; received"
                    f" {name}={size} and groups={groups}."
                )

    @property
    def dropped_size(self) -> int:
        """The size of `h`."""
        return int(self.output_size)

    def add_weights(self, features: int) -> None:
        """Creates the matrices, and `bias` if there is one."""
        if features % self.groups:
            raise StructureError(
                "GroupLSTMCell: the features must be a multiple of groups; received"
                f" {features} features and groups={self.groups}."
            )
        width = 4 * self.units // self.groups
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.dropped_size, width))
        self.bias = self.add("bias", (4 * self.units,))
        self.projection_kernel: Any = None
        if self.projection is not None:
            shape = (self.units, self.projection)
            self.projection_kernel = self.add("projection_kernel", shape, "recurrent")

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The products of all groups with their inputs, and `b`, `(..., 4 * units)`."""
        products = self._products(self.input_dropout.drop(inputs, training), self.kernel)
        return products if self.bias is None else products + self.bias

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h, c]`."""
        h, c = states
        products = self._products(self.dropped(h, training), self.recurrent_kernel)
        i, f, g, o = ops.split(projected + products, 4, axis=-1)
        c = ops.sigmoid(f + self.forget_bias) * c + ops.sigmoid(i) * self.activation(g)
        h = ops.sigmoid(o) * self.activation(c)
        if self.projection_kernel is not None:
            h = ops.matmul(h, self.projection_kernel)
        return h, [h, c]

    def _products(self, vectors: Tensor, matrix: Any) -> Tensor:
        """Each group's part of the vectors times its matrix: `(..., 4 * units)`, gate by gate."""
        parts = ops.split(vectors, self.groups, axis=-1)
        matrices = ops.split(ops.convert_to_tensor(matrix), self.groups, axis=0)
        products = [ops.matmul(*pair) for pair in zip(parts, matrices, strict=True)]
        gates = zip(*(ops.split(product, 4, axis=-1) for product in products), strict=True)
        return ops.concatenate([block for gate in gates for block in gate], axis=-1)

    def equivalent(self) -> Equivalence:
        """`keras.layers.LSTM` with zeros outside of the groups."""
        conditions = [
            Reason(
                "the output is not projected",
                self.projection is None,
                f"projection={self.projection}",
            ),
            no_state_dropout(self),
        ]
        arguments = {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "dropout": self.dropout,
        }
        return Equivalence("lstm", conditions, arguments, self._keras_weights)

    def _keras_weights(self) -> list[Tensor]:
        *_, bias = lstm_weights(self)
        return [
            self._block_diagonal(self.kernel),
            self._block_diagonal(self.recurrent_kernel),
            bias,
        ]

    def _block_diagonal(self, matrix: Any) -> Tensor:
        """`(size, 4 * units)`: in each gate the groups' matrices along the diagonal."""
        size, width = matrix.shape[0], self.units // self.groups
        blocks = ops.reshape(matrix, (self.groups, size // self.groups, 4, 1, width))
        place = ops.reshape(
            ops.eye(self.groups, dtype=matrix.dtype), (self.groups, 1, 1, self.groups, 1)
        )
        return ops.reshape(blocks * place, (size, 4 * self.units))

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        projected = {"units": 6, "groups": 3, "projection": 3, "forget_bias": 0.0}
        return Card(
            [
                Case({"units": 4}, inputs=(4,), name="two groups"),
                Case(projected, inputs=(3,), name="projection"),
                Case({"units": 4, "groups": 1, "use_bias": False}, name="an LSTM"),
            ],
            others={"units": 6, "groups": 3, "projection": 6, "forget_bias": 0.5},
            gates="input, forget, output",
            learning=Learning(encoded=True, multiple=2),
        )
