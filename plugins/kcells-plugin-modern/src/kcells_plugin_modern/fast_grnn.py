"""The FastGRNN: one pair of matrices, of low rank if wished, for gate and candidate."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, initializers, ops

from kcells import Card, Case, StandardCell
from kcells.types import Tensor

__all__ = ["FastGRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-modern")
class FastGRNNCell(StandardCell):
    """A gated RNN whose gate and candidate share their matrices, and differ in the bias.

        a_t = W x_t + U h_{t-1}
        z_t = recurrent_activation(a_t + b_z)
        g_t = activation(a_t + b_h)
        h_t = (sigmoid(zeta) * (1 - z_t) + sigmoid(nu)) * g_t + z_t * h_{t-1}

    `zeta` and `nu` are one number each. `kernel_rank` makes `W` a product of two thin matrices,
    by way of that many numbers, and `recurrent_rank` does the same with `U`.

    Paper: Kusupati, Singh, Bhatia, Kumar, Jain and Varma 2018, "FastGRNN: A Fast, Accurate,
    Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network", arXiv:1901.02358.

    Differences: of what makes the paper's models small, low rank is here; sparse and quantized
    weights are not. The sigmoid is how the authors' code keeps `zeta` and `nu` between 0 and 1,
    and 1 and -4 are where it starts them; torchrecurrent has 3 and -3, and its gate is a tanh
    unless told otherwise. The matrices start as in Keras' own cells, where the authors' code draws
    them from a normal distribution with a deviation of 0.1; the biases start at 1, as there.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gate. Default: `"sigmoid"`.
        kernel_rank: the rank of `W`, a positive int, or None for a full matrix. Default: None.
        recurrent_rank: the rank of `U`, the same.
        zeta: where `zeta` starts, a float. Default: 1.
        nu: where `nu` starts, a float. Default: -4.
        bias_initializer: for both biases. Default: `"ones"`.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`, or of a rank `kernel_in`
    `(features, rank)` and `kernel_out` `(rank, units)`; `recurrent_kernel` `(units, units)`, or
    `recurrent_kernel_in` and `recurrent_kernel_out`; `bias` `(2 * units,)`, the blocks z, h;
    `zeta` and `nu`, `(1,)` each.

    Raises:
        ConfigurationError: if `units`, a rank or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("fast_grnn", 4, kernel_rank=2)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights[:3]}
    {'kernel_in': (3, 2), 'kernel_out': (2, 4), 'recurrent_kernel': (4, 4)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        kernel_rank: int | None = None,
        recurrent_rank: int | None = None,
        zeta: float = 1.0,
        nu: float = -4.0,
        bias_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, bias_initializer=bias_initializer, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        for name, rank in (("kernel_rank", kernel_rank), ("recurrent_rank", recurrent_rank)):
            setattr(self, name, None if rank is None else self.positive(name, rank))
        self.zeta = zeta
        self.nu = nu

    def add_weights(self, features: int) -> None:
        """Makes the matrices, the bias and the two numbers."""
        self.kernels = self._matrices("kernel", features, self.kernel_rank)
        self.recurrent_kernels = self._matrices("recurrent_kernel", self.units, self.recurrent_rank)
        self.bias = self.add("bias", (2 * self.units,))
        self.new_share = self._number("zeta", self.zeta)
        self.least_share = self._number("nu", self.nu)

    def _matrices(self, name: str, rows: int, rank: int | None) -> list[Any]:
        """One matrix, or two whose product has the rank."""
        if rank is None:
            return [self.add(name, (rows, self.units))]
        return [self.add(f"{name}_in", (rows, rank)), self.add(f"{name}_out", (rank, self.units))]

    def _number(self, name: str, start: float) -> Any:
        return self.add_weight(shape=(1,), name=name, initializer=initializers.Constant(start))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x`, `(..., units)`: the biases are for gate and candidate apart."""
        return _product(self.input_dropout.drop(inputs, training), self.kernels)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        shared = projected + _product(self.dropped(h, training), self.recurrent_kernels)
        gate = candidate = shared
        if self.bias is not None:
            of_gate, of_candidate = ops.split(self.bias, 2)
            gate, candidate = shared + of_gate, shared + of_candidate
        z = self.recurrent_activation(gate)
        share = ops.sigmoid(self.new_share) * (1 - z) + ops.sigmoid(self.least_share)
        h = share * self.activation(candidate) + z * h
        return h, [h]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        ranks = {"kernel_rank": 2, "recurrent_rank": 3}
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, **ranks, "use_bias": False}, name="low rank"),
            ],
            others={"kernel_rank": 2, "recurrent_rank": 1, "zeta": 0.5, "nu": 0.25},
            gates="update",
            also_in="torchrecurrent",
        )


def _product(x: Tensor, matrices: list[Any]) -> Tensor:
    """`x` times one matrix after the other."""
    for matrix in matrices:
        x = ops.matmul(x, matrix)
    return x
