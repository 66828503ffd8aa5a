"""`InputCell` and `StandardCell`: Keras' usual arguments, for a cell that brings its equations.

Most cells of the literature take a vector, keep vectors, and consist of a product with the
inputs, a product with the state and a bias. Their authors should not have to write once more
how a kernel is initialized, regularized, dropped and saved.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from keras import activations, constraints, initializers, ops, regularizers

from kcells.cells.base import Cell
from kcells.cells.dropout import VariationalDropout
from kcells.cells.signature import constructor_parameters
from kcells.errors import CellError, ConfigurationError, StructureError
from kcells.types import Structure, Tensor

__all__ = ["InputCell", "StandardCell"]

_SETTINGS = {
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}
_SERIALIZERS: dict[str, Any] = {
    **{f"_{what}": module.serialize for what, module in _SETTINGS.items()},
    "activation": activations.serialize,
}


class InputCell(Cell):
    """Base class for cells whose matrices act on the inputs alone, with their usual arguments.

    A subclass overrides `add_weights`, which makes its weights with `add`, and a hook of
    `kcells.Cell`. `project_inputs` is there: `W x + b`, with dropout. Its `state_size` and
    `output_size` are `units`, unless it sets others.

    A constructor of its own takes what this one does not, such as activations, keeps each
    argument in an attribute of that name, and hands `**kwargs` on. `get_config` then
    has all arguments, of both.

    Args:
        units: the size of the state, a positive int.
        use_bias: whether there are biases. Default: True.
        kernel_initializer: for weights that act on inputs. Default: `"glorot_uniform"`.
        bias_initializer: for biases. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for the weights that the initializers of these
            names are for. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for what is random, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.

    Shapes: inputs `(batch, features)`; states as `state_size` says.

    Raises:
        ConfigurationError: if `units` or the dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> class SumCell(kcells.InputCell):
    ...     def add_weights(self, features):
    ...         self.kernel = self.add("kernel", (features, self.units))
    ...     def linear_recurrence(self, projected):
    ...         return kcells.LinearRecurrence([1.0], [projected], lambda h, projected: h[0])
    >>> layer = kcells.RNN(SumCell(4, kernel_initializer="ones"))
    >>> float(layer(np.ones((2, 5, 3), "float32"))[0, 0])
    15.0
    """

    def __init__(
        self,
        units: int,
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
        self.units = self.positive("units", units)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        rate = self.rate("dropout", dropout)
        self.seed = seed
        self.state_size = self.output_size = units
        self.input_dropout = VariationalDropout(rate, seed=seed, dtype=self.dtype_policy)

    @property
    def dropout(self) -> float:
        """The share of the inputs that is dropped; see `kcells.VariationalDropout.rate`."""
        return self.input_dropout.rate

    @dropout.setter
    def dropout(self, rate: float) -> None:
        self.input_dropout.rate = self.rate("dropout", rate)

    def positive(self, name: str, value: Any) -> int:
        """`value`, which has to be a positive int: the argument `name`."""
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(
                f"{type(self).__name__}: {name} must be a positive int; received {value!r}."
            )
        return value

    def rate(self, name: str, value: Any) -> Any:
        """`value`, which has to be the share of something that is dropped: the argument `name`."""
        if not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
            raise ConfigurationError(
                f"{type(self).__name__}: {name}: the rate must be at least 0 and less than 1;"
                f" received {value!r}."
            )
        return value

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`."""
        is_shape = isinstance(input_shape, (tuple, list)) and len(input_shape) == 2
        if not is_shape or not isinstance(input_shape[-1], int):
            raise StructureError(
                f"{type(self).__name__}: the inputs of a step must be one tensor of"
                f" (batch, features), with a known number of features; received the shape"
                f" {input_shape!r}."
            )
        self.bias: Any = None
        self.add_weights(input_shape[-1])
        self.input_dropout.build((None, input_shape[-1]))

    def add_weights(self, features: int) -> None:
        """Makes the weights: `kernel`, `recurrent_kernel` and `bias`, or what a cell has."""
        raise CellError(
            f"{type(self).__name__} has no add_weights(features); make the weights there, such as\n"
            '  self.kernel = self.add("kernel", (features, self.units))'
        )

    def add(
        self, name: str, shape: tuple[int, ...], part: str | None = None, initializer: Any = None
    ) -> Any:
        """A weight with the initializer, regularizer and constraint of its part.

        Args:
            name: its name.
            shape: its shape.
            part: `"kernel"`, `"recurrent"` or `"bias"`; left out, the one that the name
                begins with. Without biases, one of the last is not made.
            initializer: in place of the one of its part.

        Returns:
            The variable; None for a bias where there are none.
        """
        part = name.partition("_")[0] if part is None else part
        if part == "bias" and not self.use_bias:
            return None
        settings = {what: getattr(self, f"{part}_{what}") for what in _SETTINGS}
        if initializer is not None:
            settings["initializer"] = initializer
        if isinstance(settings["initializer"], initializers.Initializer):
            # Keras' initializers keep their seed: used twice, one gives related weights.
            settings["initializer"] = settings["initializer"].clone()
        return self.add_weight(shape=shape, name=name, **settings)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x + b`, `(..., columns of kernel)`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return products if self.bias is None else products + self.bias

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, those of the subclass too."""
        config: dict[str, Any] = super().get_config()
        for name in constructor_parameters(type(self)):
            value = getattr(self, name)
            serialize = next((f for end, f in _SERIALIZERS.items() if name.endswith(end)), None)
            config[name] = value if serialize is None else serialize(value)
        return config


class StandardCell(InputCell):
    """Base class for cells on vectors, with the usual arguments of a recurrent cell.

    What `kcells.InputCell` is and takes, and what belongs to a product with the state.

    Args:
        units: the size of the state, a positive int.
        recurrent_initializer: for weights that act on states. Default: `"orthogonal"`.
        recurrent_regularizer, recurrent_constraint: for the same. Default: None.
        recurrent_dropout: the share of the state that is dropped where it meets a matrix,
            the same at every step. Default: 0.
        **kwargs: the other arguments of `kcells.InputCell`.

    Shapes: inputs `(batch, features)`; states as `state_size` says.

    Raises:
        ConfigurationError: if `units` or a dropout rate is out of range.
        StructureError: if the inputs of a step are not one tensor `(batch, features)`.

    Examples:

    >>> import kcells, numpy as np
    >>> from keras import ops
    >>> class ElmanCell(kcells.StandardCell):
    ...     def add_weights(self, features):
    ...         self.kernel = self.add("kernel", (features, self.units))
    ...         self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
    ...         self.bias = self.add("bias", (self.units,))
    ...     def step(self, projected, states, training=False):
    ...         h = self.dropped(states[0], training)
    ...         h = ops.tanh(projected + ops.matmul(h, self.recurrent_kernel))
    ...         return h, [h]
    >>> layer = kcells.RNN(ElmanCell(4, kernel_regularizer="l2", dropout=0.1))
    >>> layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
    True
    >>> len(layer.losses), layer.cell.get_config()["dropout"]
    (1, 0.1)
    """

    def __init__(
        self,
        units: int,
        recurrent_initializer: Any = "orthogonal",
        recurrent_regularizer: Any = None,
        recurrent_constraint: Any = None,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        rate = self.rate("recurrent_dropout", recurrent_dropout)
        # One seed for both would draw the same masks wherever features == units.
        seed = None if self.seed is None else self.seed + 1
        self.state_dropout = VariationalDropout(rate, seed=seed, dtype=self.dtype_policy)

    @property
    def recurrent_dropout(self) -> float:
        """The share of the state that is dropped; see `kcells.VariationalDropout.rate`."""
        return self.state_dropout.rate

    @recurrent_dropout.setter
    def recurrent_dropout(self, rate: float) -> None:
        self.state_dropout.rate = self.rate("recurrent_dropout", rate)

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`."""
        super().build(input_shape)
        self.state_dropout.build((None, self.dropped_size))

    @property
    def dropped_size(self) -> int:
        """The size of the state that `dropped` gets; `units`, unless a subclass says other."""
        return self.units

    def dropped(self, state: Tensor, training: bool = False) -> Tensor:
        """A state with the entries dropped that `recurrent_dropout` drops in this sequence."""
        return self.state_dropout.drop(state, training)
