"""The layer-normalized GRU.

The products with the inputs are normalized on their own, apart from those with the
state. So both steps of the input side, product and norm, are in `project_inputs`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import activations, ops

from kcells import Card, Case, Equivalence, Reason, StandardCell
from kcells.types import Tensor
from kcells_plugin_layernorm.norm import checked_epsilon, standardized

__all__ = ["LayerNormGRUCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-layernorm")
class LayerNormGRUCell(StandardCell):
    """A GRU in which every product with a matrix is layer-normalized.

        (z_t; r_t) = recurrent_activation(LN(W_zr x_t) + LN(U_zr h_{t-1}))

        reset_after=True:   g_t = activation(LN(W_g x_t) + r_t * LN(U_g h_{t-1}))
        reset_after=False:  g_t = activation(LN(W_g x_t) + LN(U_g (r_t * h_{t-1})))

        h_t = z_t * h_{t-1} + (1 - z_t) * g_t

        LN(a) = gamma * (a - mean(a)) / sqrt(variance(a) + epsilon) + beta

    Each of the four `LN` has a `gamma` and a `beta` of its own. Mean and variance are
    those of one sample at one step: over the `2 * units` of both gates together, and over
    the `units` of the candidate.

    The shifts `beta` are the weight `bias`, laid out as in `keras.layers.GRUCell`: one row
    for the inputs and one for the state with `reset_after=True`; with `reset_after=False`,
    where both shifts only ever act as a sum, that sum. With `normalize=False` the cell is
    `keras.layers.GRUCell`, and takes its weights as they are.

    Papers: Ba, Kiros and Hinton 2016, "Layer Normalization", arXiv:1607.06450, the GRU of
    the supplementary material, which is `reset_after=True`. `reset_after=False` carries
    it over to the GRU of Cho et al. 2014, arXiv:1406.1078.

    Differences: `z` and `1 - z` change places against the paper, as in Keras and in the
    authors' code. That code also adds a bias to the products with the inputs before they
    are normalized; here, as in the paper's equations, there is the shift alone.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate. Default: `"tanh"`.
        recurrent_activation: for the gates. Default: `"sigmoid"`.
        use_bias: whether there are shifts. Default: True.
        kernel_initializer: for `kernel`. Default: `"glorot_uniform"`.
        recurrent_initializer: for `recurrent_kernel`. Default: `"orthogonal"`.
        bias_initializer: for the shifts. Default: `"zeros"`.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: for the weights that
            the initializers of these names are for. Default: None.
        kernel_constraint, recurrent_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        recurrent_dropout: the share of the state that is dropped in the products, the same
            at every step and in every product; Keras draws a mask for each. Default: 0.
        reset_after: whether the reset gate is applied after the product with the state, or
            before. Default: True.
        seed: an int for the dropout masks, or None. Default: None.
        normalize: whether to normalize. Default: True.
        epsilon: added to the variance, a positive float. Default: 1e-5, which is the
            authors' code; `keras.layers.LayerNormalization` has 1e-3.
        gamma_initializer: for `gamma`. Default: `"ones"`.
        gamma_regularizer, gamma_constraint: for `gamma`. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: the inputs of one step.
        states: `[h]`.
        training: whether dropout is on.

    Shapes: inputs `(batch, features)`; `h` and the output, which is `h`, `(batch, units)`.
    Weights: `kernel` `(features, 3 * units)` and `recurrent_kernel` `(units, 3 * units)`,
    the blocks z, r, g; `bias` `(2, 3 * units)`, or `(3 * units,)` with
    `reset_after=False`; `gamma` `(2, 3 * units)`, the first row for the inputs.

    Raises:
        ConfigurationError: if `units`, `epsilon` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("ln_gru", 4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 12), 'recurrent_kernel': (4, 12), 'bias': (2, 12), 'gamma': (2, 12)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        reset_after: bool = True,
        normalize: bool = True,
        epsilon: float = 1e-5,
        gamma_initializer: Any = "ones",
        gamma_regularizer: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after
        self.normalize = normalize
        self.epsilon = checked_epsilon("LayerNormGRUCell", epsilon)
        self.keep_part("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)

    def add_weights(self, features: int) -> None:
        """Makes both matrices, and shifts and gains of the norms where there are any."""
        width = 3 * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", (2, width) if self.reset_after else (width,))
        self.gamma = self.add("gamma", (2, width)) if self.normalize else None

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """The products with the inputs, `(..., 3 * units)`, normalized and shifted."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        blocks = [
            self._normalized(products[..., block], 0, block)
            for block in (self._gates, self._candidate)
        ]
        projected = ops.concatenate(blocks, axis=-1)
        if self.bias is None:
            return projected
        return projected + (self.bias[0] if self.reset_after else self.bias)

    def step(
        self, projected: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """One step from `project_inputs`: the output `h` and `[h]`."""
        (h,) = states
        seen = self.dropped(h, training)
        if self.reset_after:
            products = ops.matmul(seen, self.recurrent_kernel)
            gates, candidate = products[:, self._gates], products[:, self._candidate]
        else:
            gates = ops.matmul(seen, self.recurrent_kernel[:, self._gates])
        gates = projected[:, self._gates] + self._recurrent_term(gates, self._gates)
        z, r = ops.split(self.recurrent_activation(gates), 2, axis=-1)
        if self.reset_after:
            candidate = r * self._recurrent_term(candidate, self._candidate)
        else:
            candidate = ops.matmul(r * seen, self.recurrent_kernel[:, self._candidate])
            candidate = self._recurrent_term(candidate, self._candidate)
        candidate = self.activation(projected[:, self._candidate] + candidate)
        h = z * h + (1 - z) * candidate
        return h, [h]

    def equivalent(self) -> Equivalence:
        """`keras.layers.GRU`, if nothing is normalized."""
        config = self.get_config()
        other = ("name", "trainable", "dtype", "normalize", "epsilon")
        return Equivalence(
            "gru",
            [
                Reason("nothing is normalized", not self.normalize, f"normalize={self.normalize}"),
                Reason(
                    "dropout leaves the state alone, of which Keras drops other parts a gate",
                    not self.recurrent_dropout,
                    f"recurrent_dropout={self.recurrent_dropout}",
                ),
            ],
            {
                name: value
                for name, value in config.items()
                if name not in other and not name.startswith("gamma_")
            },
        )

    @property
    def _gates(self) -> slice:
        return slice(0, 2 * self.units)

    @property
    def _candidate(self) -> slice:
        return slice(2 * self.units, 3 * self.units)

    def _recurrent_term(self, product: Tensor, block: slice) -> Tensor:
        """A product with the state, normalized, and shifted if its side has a shift."""
        normalized = self._normalized(product, 1, block)
        if self.bias is None or not self.reset_after:
            return normalized
        return normalized + self.bias[1, block]

    def _normalized(self, product: Tensor, side: int, block: slice) -> Tensor:
        """`product` normalized over its last axis and scaled; the shift is added outside."""
        if self.gamma is None:
            return product
        return standardized(product, self.epsilon) * self.gamma[side, block]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        return Card(
            [
                Case({"units": 4}, name="default"),
                Case({"units": 4, "reset_after": False}, name="reset before"),
                Case({"units": 4, "normalize": False}, name="a GRU"),
            ],
            others={"epsilon": 0.01},
            gates="update, reset",
        )
