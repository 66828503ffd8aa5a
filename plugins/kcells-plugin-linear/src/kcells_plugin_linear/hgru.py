"""The hierarchically gated recurrent unit: complex numbers that turn, and a forget gate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import activations, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence, Place
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["HGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class HGRUCell(InputCell):
    """A gated sum over time of complex numbers, whose forget gate has a lower bound.

        c_t = activation(W_r x_t + b_r) + i activation(W_i x_t + b_i)
        f_t = lower_bound + (1 - lower_bound) * sigmoid(W_f x_t + b_f)
        h_t = f_t * exp(i theta) * h_{t-1} + (1 - f_t) * c_t

        g_t = gate_activation(W_g x_t + b_g)
        y_t = W_o LN(g_t * (Re h_t; Im h_t)) + b_o

        LN(a) = scale * (a - mean(a)) / sqrt(variance(a) + epsilon) + shift

    The cell is linear in its state, and all steps can be computed at once. A layer further up
    should forget less. So the paper's lower bound grows from layer to layer, from 0 in the first:
    in equal parts, it is `(k - 1) / layers` in layer k.

    Paper: Qin, Yang and Zhong 2023, "Hierarchically Gated Recurrent Neural Network for Sequence
    Modeling", arXiv:2311.04823, section 3.

    Differences: the paper trains the lower bounds of all layers together, a number a unit. A cell
    does not see the others, so here it is a number that is not trained. The authors' code has the
    norm before the gate, `LN(h) * g`, which is `gate_first=False`. As in that code both
    activations are SiLU, and `theta` starts at `10000^(-2 k / units)`, with k from 0. It is open
    whether the paper has SiLU for the candidate alone and a sigmoid for the output gate, which is
    `gate_activation="sigmoid"`. The matrices start as in Keras, where that code has the defaults
    of PyTorch.

    Args:
        units: how many complex numbers the state has, and the size of the output, a positive
            int.
        activation: for both parts of the candidate. Default: `"silu"`.
        gate_activation: for the output gate. Default: `"silu"`.
        lower_bound: of the forget gate, a float from 0 to less than 1. Default: 0.
        gate_first: whether the gate acts before the norm. Default: True.
        epsilon: added to the variance, a positive float. Default: 1e-5.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` `(batch, units, 2)`, real and imaginary
    part in the last axis; the output, `y`, `(batch, units)`. Weights: `kernel`
    `(features, 5 * units)` and `bias`, the blocks r, i, f, and g for real and imaginary parts;
    `theta` `(units,)`; `scale` and `shift` `(2 * units,)`; `kernel_output` `(2 * units, units)`,
    rows for real and imaginary parts, and `bias_output`.

    Raises:
        ConfigurationError: if `units`, `lower_bound`, `epsilon` or the dropout rate is out of
            range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layers = [kcells.cell("hgru", 4, lower_bound=k / 3) for k in range(3)]
    >>> tuple(kcells.RNN(layers, return_sequences=True)(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "silu",
        gate_activation: Any = "silu",
        lower_bound: float = 0.0,
        gate_first: bool = True,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        if not isinstance(lower_bound, (int, float)) or not 0.0 <= lower_bound < 1.0:
            raise ConfigurationError(
                "HGRUCell: lower_bound must be at least 0 and less than 1;"
                f" received {lower_bound!r}."
            )
        if not isinstance(epsilon, (int, float)) or not epsilon > 0.0:
            raise ConfigurationError(
                f"HGRUCell: epsilon must be a positive float; received {epsilon!r}."
            )
        self.activation = activations.get(activation)
        self.gate_activation = activations.get(gate_activation)
        self.lower_bound, self.gate_first, self.epsilon = lower_bound, gate_first, epsilon
        self.state_size = [(units, 2)]

    def add_weights(self, features: int) -> None:
        """What acts on the inputs, the angles, and what is between state and output."""
        size = 2 * self.units
        self.kernel = self.add("kernel", (features, 5 * self.units))
        self.bias = self.add("bias", (5 * self.units,))
        # In half precision a turn would be off by more at every step.
        self.theta = self.add_weight(
            shape=(self.units,), name="theta", initializer=_first_angles, autocast=False
        )
        self.scale = self.add_weight(shape=(size,), name="scale", initializer="ones")
        self.shift = self.add_weight(shape=(size,), name="shift", initializer="zeros")
        self.kernel_output = self.add("kernel_output", (size, self.units))
        self.bias_output = self.add("bias_output", (self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """`f`, `(1 - f) * c` and `g`, of which the second is complex."""
        products = super().project_inputs(inputs, training)
        # Not split at places: Keras makes a tensor of them, which torch.export cannot look into.
        n = self.units
        c, f, g = products[..., : 2 * n], products[..., 2 * n : 3 * n], products[..., 3 * n :]
        c = ops.stack(ops.split(self.activation(c), 2, axis=-1), axis=-1)
        free = 1.0 - self.lower_bound
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        new = ops.expand_dims(free * ops.sigmoid(-f), -1) * c
        return [self.lower_bound + free * ops.sigmoid(f), new, self.gate_activation(g)]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`h_t = f_t * exp(i theta) * h_{t-1} + new_t`, as complex numbers."""
        f, new, _ = projected
        turn = ops.stack([ops.cos(self.theta), ops.sin(self.theta)], axis=-1)
        a = ops.expand_dims(f, -1) * ops.cast(turn, self.compute_dtype)
        return LinearRecurrence([a], [new], self._read_out, "complex")

    def _read_out(self, states: list[Tensor], projected: list[Tensor]) -> Tensor:
        """`W_o LN(g * h) + b_o`, or with the norm before the gate."""
        h, g = ops.concatenate([states[0][..., 0], states[0][..., 1]], axis=-1), projected[2]
        seen = self._normalized(g * h) if self.gate_first else g * self._normalized(h)
        outputs = ops.matmul(seen, self.kernel_output)
        return outputs if self.bias_output is None else outputs + self.bias_output

    def _normalized(self, a: Tensor) -> Tensor:
        """`LN(a)`; in half precision the sums would lose what the variance is made of."""
        is_double = keras.backend.standardize_dtype(a.dtype) == "float64"
        a = ops.cast(a, "float64" if is_double else "float32")
        a = a - ops.mean(a, axis=-1, keepdims=True)
        a = a * ops.rsqrt(ops.mean(a * a, axis=-1, keepdims=True) + self.epsilon)
        return ops.cast(a, self.compute_dtype) * self.scale + self.shift

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        more = {"lower_bound": 0.6, "gate_first": False, "use_bias": False}
        return Card(
            [Case({"units": 4}, name="default"), Case({"units": 3, **more}, name="bounded")],
            others={"lower_bound": 0.5, "epsilon": 0.01},
            gates="forget, output",
            learning=Learning(_higher_above, depth=2),
        )


def _first_angles(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """From 1 down to about 1e-8, in equal quotients."""
    (units,) = shape
    return ops.convert_to_tensor(10000.0 ** (-2.0 * np.arange(units) / units), dtype=dtype)


def _higher_above(at: Place) -> dict[str, float]:
    """The paper has lower bounds from 0 in the first layer to near 1 in the last."""
    return {"lower_bound": at.layer * (1 - 4 / (at.length or 100))}
