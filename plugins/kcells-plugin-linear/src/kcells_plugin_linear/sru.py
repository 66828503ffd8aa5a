"""The simple recurrent unit, in the version whose gates see the inputs alone."""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, InputCell, Learning, LinearRecurrence
from kcells.types import Tensor

__all__ = ["SRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class SRUCell(InputCell):
    """A gated sum over time, and a gate between it and the input.

        f_t = sigmoid(W_f x_t + b_f)
        r_t = sigmoid(W_r x_t + b_r)
        c_t = f_t * c_{t-1} + (1 - f_t) * (W x_t)
        h_t = r_t * activation(c_t) + (1 - r_t) * highway_scale * x_t

    Where `units` is not the number of features, `W_h x_t` takes the place of `x_t` in the last
    line. The cell is linear in its state, and all steps can be computed at once.

    Paper: Lei, Zhang, Wang, Dai and Artzi 2017, "Simple Recurrent Units for Highly
    Parallelizable Recurrence", arXiv:1709.02755, in its first version, "Training RNNs as
    Fast as CNNs".

    Differences: later versions of the paper add `v_f * c_{t-1}` and `v_r * c_{t-1}` inside of
    the gates. With that the cell is not linear in its state any more, so it is not here. They
    also have no activation, `activation="linear"`, and a scale of `sqrt(1 + 2 exp(b))` for
    biases `b_r` that start at `b`: `highway_scale=3**0.5` for 0. The authors' code has `W_h`
    too. The kernel starts as the later versions say, and biases at zero. In the authors' later
    code the blocks of both gates start times `sqrt(0.5)`, and `W_h` times the highway scale.

    Args:
        units: the size of the state, a positive int.
        activation: for the state where it is read out. Default: `"tanh"`.
        highway_scale: what `x_t` or `W_h x_t` is multiplied by, a float. Default: 1.
        use_bias: whether both gates have biases. Default: True.
        kernel_initializer: for `kernel`. Default: `"lecun_uniform"`.
        bias_initializer: for `bias`. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for `kernel` and `bias`. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped in the products, the same at every
            step. Default: 0.
        seed: an int for the dropout mask, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: inputs `(batch, features)`; states `[c]`; `c` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, 3 * units)`, the blocks f, r, W, and
    `W_h` as a fourth where `units` is not `features`; `bias` `(2 * units,)`.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import SRUCell
    >>> layer = kcells.RNN(SRUCell(3), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 3)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 9), 'bias': (6,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        highway_scale: float = 1.0,
        kernel_initializer: Any = "lecun_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, kernel_initializer=kernel_initializer, **kwargs)
        self.activation = activations.get(activation)
        self.highway_scale = highway_scale

    def add_weights(self, features: int) -> None:
        """The kernel, with a block for the highway if it needs one, and the bias of both gates."""
        self._blocks = 3 if features == self.units else 4
        self.kernel = self.add("kernel", (features, self._blocks * self.units))
        self.bias = self.add("bias", (2 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the state is multiplied by, what is added, `r`, and what passes by."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        f, r, candidate, *others = ops.split(products, self._blocks, axis=-1)
        if self.bias is not None:
            of_f, of_r = ops.split(self.bias, 2)
            f, r = f + of_f, r + of_r
        passing = others[0] if others else ops.cast(inputs, self.compute_dtype)
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        passing = ops.sigmoid(-r) * (self.highway_scale * passing)
        return [ops.sigmoid(f), ops.sigmoid(-f) * candidate, ops.sigmoid(r), passing]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`c_t = kept_t * c_{t-1} + new_t`, read out through the gate `r`."""

        def read_out(states: list[Tensor], projected: list[Tensor]) -> Tensor:
            return projected[2] * self.activation(states[0]) + projected[3]

        return LinearRecurrence([projected[0]], [projected[1]], read_out)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        later = {"units": 3, "activation": "linear", "highway_scale": 3**0.5}
        return Card(
            [Case({"units": 4}, name="default"), Case(later, name="as many as features")],
            others={"highway_scale": 1.5},
            gates="forget, highway",
            learning=Learning(depth=2),
        )
