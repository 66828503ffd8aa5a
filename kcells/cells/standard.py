"""`InputCell` and `StandardCell`: Keras' usual arguments, for a cell that brings its equations.

Most cells of the literature take a vector, keep vectors, and consist of a product with the
inputs, a product with the state and a bias. Their authors should not have to write once more
how a kernel is initialized, regularized, dropped and saved.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from kcells.cells.weights import WeightsCell
from kcells.errors import CellError, StructureError
from kcells.types import Structure, Tensor

__all__ = ["InputCell", "StandardCell"]


class InputCell(WeightsCell):
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
        super().__init__(dropout, seed, **kwargs)
        self.units = self.positive("units", units)
        self.use_bias = use_bias
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.keep_part("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.state_size = self.output_size = units

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

    def project_inputs(self, inputs: Tensor, training: bool = False) -> Tensor:
        """`W x + b`, `(..., columns of kernel)`."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        return products if self.bias is None else products + self.bias


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
        self.keep_part(
            "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint
        )
        self.drop_states(recurrent_dropout)

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`."""
        super().build(input_shape)
        self.state_dropout.build((None, self.dropped_size))

    @property
    def dropped_size(self) -> int:
        """The size of the state that `dropped` gets; `units`, unless a subclass says other."""
        return self.units
