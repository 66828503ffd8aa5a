"""Multiplicative integration, which three cells share.

    alpha * Wx * Uh + beta_1 * Uh + beta_2 * Wx + b

is linear in `Uh`, so that `alpha * Wx + beta_1` and `beta_2 * Wx + b` can be computed for
the whole sequence. A step is left with one product and one sum more than without it.
"""

from __future__ import annotations

from typing import Any

from keras import initializers, ops

from kcells import StandardCell
from kcells.types import Tensor

__all__ = ["IntegrationCell"]


class IntegrationCell(StandardCell):
    """Base class for cells with multiplicative integration of `W x` and `U h`.

    A subclass says in `blocks` how many sums of `units` it has, and adds its `step`.

    Args:
        units: the size of the state, a positive int.
        alpha_initializer: for `alpha`. Default: `"ones"`.
        beta_initializer: for `beta_1` and `beta_2`. Default: `"ones"`.
        **kwargs: the other arguments of `kcells.StandardCell`.
    """

    blocks: int

    def __init__(
        self,
        units: int,
        alpha_initializer: Any = "ones",
        beta_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.beta_initializer = initializers.get(beta_initializer)

    def add_weights(self, features: int) -> None:
        """Both matrices, the three vectors of the integration, and the bias."""
        width = self.blocks * self.units
        self.kernel = self.add("kernel", (features, width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.alpha = self._add_vector("alpha", self.alpha_initializer)
        self.beta_1 = self._add_vector("beta_1", self.beta_initializer)
        self.beta_2 = self._add_vector("beta_2", self.beta_initializer)
        self.bias = self.add("bias", (width,), initializer=self.first_bias)

    def first_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """What the bias starts with."""
        return self.bias_initializer(shape, dtype=dtype)

    def _add_vector(self, name: str, initializer: Any) -> Any:
        if isinstance(initializer, initializers.Initializer):
            # Keras' initializers keep their seed: used twice, one gives related vectors.
            initializer = initializer.clone()
        width = self.blocks * self.units
        return self.add_weight(shape=(width,), name=name, initializer=initializer)

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What `U h` is multiplied by, and what is added: slopes and offsets."""
        products = ops.matmul(self.input_dropout.drop(inputs, training), self.kernel)
        offsets = self.beta_2 * products
        if self.bias is not None:
            offsets = offsets + self.bias
        return [self.alpha * products + self.beta_1, offsets]
