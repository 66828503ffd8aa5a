"""The piecewise linear RNN, which dynamical systems are reconstructed with."""

from __future__ import annotations

from typing import Any

import keras
from keras import initializers, ops

from kcells import Card, Case, StandardCell
from kcells.errors import ConfigurationError
from kcells.types import Tensor

__all__ = ["PLRNNCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-gated")
class PLRNNCell(StandardCell):
    """An RNN that is linear but for a ReLU of the state, and leaks.

        hidden_units=None:  h_t = a * h_{t-1} + U relu(h_{t-1}) + W x_t + b
        otherwise:          h_t = a * h_{t-1} + U g_t + W x_t + b
                            g_t = relu(V h_{t-1} + b_hidden)
        clipped=True:       g_t = relu(V h_{t-1} + b_hidden) - relu(V h_{t-1})

    `U` has nothing on its diagonal in the first form, which `a` is for. The second is the
    shallow PLRNN; clipped, its state is bounded where all entries of `a` are below one.

    Paper: Durstewitz 2017, "A state space approach for piecewise-linear recurrent neural
    networks for identifying computational dynamics from neural measurements", PLOS Computational
    Biology 13(6). The shallow PLRNN: Hess, Monfared, Brenner and Durstewitz 2023, "Generalized
    Teacher Forcing for Learning Chaotic Dynamics", arXiv:2306.04406.

    Differences: the papers' models have noise and a map from states to observations, which are
    not parts of the cell; a Dense layer after it is such a map. How weights start is chosen
    here: matrices from a narrow normal distribution and `a` at 1/2, so that no state grows at
    first.

    Args:
        units: the size of the state, a positive int.
        hidden_units: the number of ReLUs, a positive int; None for one for each unit. Default:
            None.
        clipped: whether ReLUs come in pairs, which bound what they give. Default: False.
        recurrent_initializer: for the matrices of the state. Default: `"random_normal"`.
        diagonal_initializer: for `a`; None for 1/2. Default: None.
        **kwargs: the other arguments of `kcells.StandardCell`.

    Shapes: inputs `(batch, features)`; states `[h]`; `h` and the output, which is `h`,
    `(batch, units)`. Weights: `kernel` `(features, units)`; `diagonal` `(units,)`, which is `a`;
    `recurrent_kernel` `(units, units)`, or `(hidden_units, units)`, which is `U`; with
    `hidden_units` `recurrent_kernel_hidden` `(units, hidden_units)`, which is `V`, and
    `bias_hidden` `(hidden_units,)`; `bias` `(units,)`.

    Raises:
        ConfigurationError: if `units`, `hidden_units` or a dropout rate is out of range, or if
            `clipped` is given without `hidden_units`.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("plrnn", 4)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 4), 'diagonal': (4,), 'recurrent_kernel': (4, 4), 'bias': (4,)}
    """

    def __init__(
        self,
        units: int,
        hidden_units: int | None = None,
        clipped: bool = False,
        recurrent_initializer: Any = "random_normal",
        diagonal_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)
        self.clipped = clipped
        self.hidden_units: Any = hidden_units
        if hidden_units is not None:
            self.positive("hidden_units", hidden_units)
        elif clipped:
            raise ConfigurationError(
                "PLRNNCell: clipped=True needs hidden_units, a positive int;"
                " received hidden_units=None."
            )
        self.keep_part("diagonal", diagonal_initializer or initializers.Constant(0.5))

    def add_weights(self, features: int) -> None:
        """Makes the weights."""
        hidden = self.hidden_units or self.units
        self.kernel = self.add("kernel", (features, self.units))
        self.diagonal = self.add("diagonal", (self.units,))
        self.recurrent_kernel = self.add("recurrent_kernel", (hidden, self.units))
        self.bias = self.add("bias", (self.units,))
        if self.hidden_units is not None:
            shape = self.units, self.hidden_units
            self.recurrent_kernel_hidden = self.add("recurrent_kernel_hidden", shape)
            self.bias_hidden = self.add("bias_hidden", (self.hidden_units,))

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        if self.hidden_units is None:
            others = 1 - ops.eye(self.units, dtype=self.compute_dtype)
            bent = ops.matmul(ops.relu(seen), others * self.recurrent_kernel)
        else:
            bent = ops.matmul(self._hidden(seen), self.recurrent_kernel)
        h = self.diagonal * h + bent + projected
        return h, [h]

    def _hidden(self, h: Tensor) -> Tensor:
        """The ReLUs of the shallow form."""
        products = ops.matmul(h, self.recurrent_kernel_hidden)
        shifted = products if self.bias_hidden is None else products + self.bias_hidden
        bent = ops.relu(shifted)
        return bent - ops.relu(products) if self.clipped else bent

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "hidden_units": 3, "clipped": True}, name="clipped"),
            ],
            gates="",
            also_in="",
            others={"hidden_units": 5},
        )
