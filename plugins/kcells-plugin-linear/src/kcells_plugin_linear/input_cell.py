"""What cells have in common whose weights act on the inputs alone.

`kcells.StandardCell` also has the arguments of a recurrent matrix, and dropout before it.
Neither is here: the state of these cells meets no matrix.
"""

from __future__ import annotations

from typing import Any

from keras import activations, constraints, initializers, ops, regularizers

from kcells import Cell, VariationalDropout
from kcells.cells.signature import constructor_parameters
from kcells.errors import ConfigurationError, StructureError
from kcells.types import Structure, Tensor

__all__ = ["InputCell"]

_SETTINGS = {
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}


class InputCell(Cell):
    """Base class for cells with one matrix, which acts on the inputs, and a bias.

    A subclass says in `blocks` how many products of `units` it wants, and in `bias_blocks` to
    how many of them, the first ones, a bias belongs.

    Args:
        units: the size of the state, a positive int.
        use_bias: whether there are biases. Default: True.
        kernel_initializer: for `kernel`. Default: `"glorot_uniform"`.
        bias_initializer: for `bias`. Default: `"zeros"`.
        kernel_regularizer, bias_regularizer: for `kernel` and `bias`. Default: None.
        kernel_constraint, bias_constraint: the same. Default: None.
        dropout: the share of the inputs that is dropped, the same at every step.
            Default: 0.
        seed: an int for what is random, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`.
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
        if not isinstance(units, int) or isinstance(units, bool) or units < 1:
            raise ConfigurationError(
                f"{type(self).__name__}: units must be a positive int; received {units!r}."
            )
        self.units = units
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = dropout
        self.seed = seed
        self.state_size = self.output_size = units
        self.input_dropout = VariationalDropout(dropout, seed=seed, dtype=self.dtype_policy)

    @property
    def blocks(self) -> int:
        """How many products of `units` the kernel gives."""
        raise NotImplementedError

    @property
    def bias_blocks(self) -> int:
        """How many of them have a bias; all, unless a subclass says other."""
        return self.blocks

    def build(self, input_shape: Structure) -> None:
        """Creates the weights for inputs of `(batch, features)`."""
        if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 2:
            raise StructureError(
                f"{type(self).__name__}: the inputs of a step must be one tensor of"
                f" (batch, features); received the shape {input_shape!r}."
            )
        self.add_weights(input_shape[-1])
        self.input_dropout.build((None, input_shape[-1]))

    def add_weights(self, features: int) -> None:
        """The kernel and the bias."""
        self.kernel = self._add("kernel", (features, self.blocks * self.units))
        self.bias = self._add("bias", (self.bias_blocks * self.units,)) if self.use_bias else None

    def _add(self, name: str, shape: tuple[int, ...]) -> Any:
        settings = {what: getattr(self, f"{name}_{what}") for what in _SETTINGS}
        return self.add_weight(shape=shape, name=name, **settings)

    def products(self, inputs: Tensor) -> list[Tensor]:
        """The blocks of `W x + b`, each `(..., units)`; dropout is up to the cell."""
        blocks = ops.split(ops.matmul(inputs, self.kernel), self.blocks, axis=-1)
        if self.bias is None:
            return list(blocks)
        biases = ops.split(self.bias, self.bias_blocks)
        count = self.bias_blocks
        shifted = [block + bias for block, bias in zip(blocks[:count], biases, strict=True)]
        return [*shifted, *blocks[count:]]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, those of the subclass too."""
        config: dict[str, Any] = super().get_config()
        for name in constructor_parameters(type(self)):
            value, kind = getattr(self, name), name.rpartition("_")[2]
            if kind in _SETTINGS:
                value = _SETTINGS[kind].serialize(value)
            elif kind == "activation":
                value = activations.serialize(value)
            config[name] = value
        return config
