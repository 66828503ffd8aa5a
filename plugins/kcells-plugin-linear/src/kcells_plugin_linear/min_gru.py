"""The minGRU: a GRU whose gate and candidate see the inputs alone.

So everything but one product and one sum is in `project_inputs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import activations, constraints, initializers, ops, regularizers

from kcells import Cell, LinearRecurrence, VariationalDropout
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Structure, Tensor

if TYPE_CHECKING:
    from kcells.testing import Case

__all__ = ["MinGRUCell", "positive"]

_PLAIN_ARGUMENTS = ("units", "use_bias", "dropout", "seed")
_SERIALIZED_ARGUMENTS = (
    (initializers, "initializer"),
    (regularizers, "regularizer"),
    (constraints, "constraint"),
)


@keras.saving.register_keras_serializable(package="kcells-plugin-linear")
class MinGRUCell(Cell):
    """A GRU without a reset gate, whose gate and candidate do not see the state.

        z_t = sigmoid(W_z x_t + b_z)
        g_t = activation(W_h x_t + b_h)

        h_t = (1 - z_t) * h_{t-1} + z_t * g_t

    The state enters by a product with numbers that come from the inputs: the cell is
    linear in its state, and all steps can be computed at once.

    With `activation="positive"` the candidate is that of the paper's log-space variant,

        activation(a) = a + 0.5 if a >= 0, sigmoid(a) otherwise

    which is positive, so that a state that starts at zero or above never falls below zero.

    Paper: Feng, Tung, Ahmed, Bengio and Hajimirsadegh 2024, "Were RNNs All We Needed?",
    arXiv:2410.01201: section 3.1 and, for `"positive"`, the appendix on log-space.

    Differences: none in the equations. The kernel starts as in `keras.layers.GRUCell` and
    the biases at zero, where the authors' code has the defaults of PyTorch. Products and
    sums are those of the equations above with `"positive"` too; nothing is computed from
    logarithms, and the initial state is zero, as for any cell.

    Args:
        units: the size of the state, a positive int.
        activation: for the candidate: `"positive"`, or an activation of Keras. Default:
            `"linear"`, which is the paper's.
        use_bias: whether there are biases. Default: True.
        kernel_initializer: for `kernel`. Default: `"glorot_uniform"`.
        bias_initializer: for `bias`. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for `kernel` and `bias`. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for the dropout mask, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: the inputs of one step.
        states: `[h]`.
        training: whether dropout is on.

    Shapes: inputs `(batch, features)`; `h` and the output, which is `h`, `(batch, units)`.
    Weights: `kernel` `(features, 2 * units)` and `bias` `(2 * units,)`, the blocks z, h.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from kcells_plugin_linear import MinGRUCell
    >>> layer = kcells.RNN(MinGRUCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 4)
    >>> {weight.name: tuple(weight.shape) for weight in layer.weights}
    {'kernel': (3, 8), 'bias': (8,)}
    """

    def __init__(
        self,
        units: int,
        activation: Any = "linear",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(units, int) or isinstance(units, bool) or units <= 0:
            raise ConfigurationError(
                f"MinGRUCell: units must be a positive int; received {units!r}."
            )
        self.units = units
        is_positive = isinstance(activation, str) and activation == "positive"
        self.activation = positive if is_positive else activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = dropout
        self.seed = seed
        self.state_size = units
        self.output_size = units
        self.input_dropout = VariationalDropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`."""
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 2:
            raise StructureError(
                "MinGRUCell: the inputs of a step must be one tensor of"
                f" (batch, features); received the shape {input_shape!r}."
            )
        features, width = input_shape[-1], 2 * self.units
        self.kernel = self._add("kernel", (features, width))
        self.bias = self._add("bias", (width,)) if self.use_bias else None
        self.input_dropout.build((None, features))

    def _add(self, name: str, shape: tuple[int, ...]) -> Any:
        """A weight with the initializer, regularizer and constraint of its name."""
        settings = {what: getattr(self, f"{name}_{what}") for _, what in _SERIALIZED_ARGUMENTS}
        return self.add_weight(shape=shape, name=name, **settings)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What the state is multiplied by, `1 - z`, and what is added, `z * g`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        if self.bias is not None:
            products = products + self.bias
        gate, candidate = ops.split(products, 2, axis=-1)
        # sigmoid(-a) is 1 - sigmoid(a), and keeps its digits where that is near zero.
        return [ops.sigmoid(-gate), ops.sigmoid(gate) * self.activation(candidate)]

    def linear_recurrence(self, projected: list[Tensor]) -> LinearRecurrence:
        """`h_t = kept_t * h_{t-1} + new_t`, of which the output is `h_t`."""
        kept, new = projected
        return LinearRecurrence([kept], [new], lambda states, projected: states[0])

    @classmethod
    def check_cases(cls) -> list[Case]:
        """The configurations that `kcells.testing` checks."""
        from kcells.testing import Case

        return [
            Case({"units": 4}, name="default"),
            Case({"units": 4, "activation": "positive"}, name="positive"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        config = {name: getattr(self, name) for name in _PLAIN_ARGUMENTS}
        is_positive = self.activation is positive
        config["activation"] = "positive" if is_positive else activations.serialize(self.activation)
        for name in ("kernel", "bias"):
            for module, what in _SERIALIZED_ARGUMENTS:
                config[f"{name}_{what}"] = module.serialize(getattr(self, f"{name}_{what}"))
        return {**super().get_config(), **config}


def positive(a: Tensor) -> Tensor:
    """The paper's `g`: continuous, increasing and above zero."""
    return ops.where(a >= 0, a + 0.5, ops.sigmoid(a))
