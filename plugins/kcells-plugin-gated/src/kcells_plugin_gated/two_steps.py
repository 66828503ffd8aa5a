"""What the strongly-typed GRU and LSTM share: they see the inputs of two steps at once."""

from __future__ import annotations

from typing import Any

from keras import activations, ops

from kcells import InputCell
from kcells.types import Tensor

__all__ = ["TwoStepsCell"]


class TwoStepsCell(InputCell):
    """A cell of three products with the inputs of this step and of the last one.

    The second of its states is what it will see of this step's inputs at the next.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.state_size = [units, 3 * units]

    def add_weights(self, features: int) -> None:
        """Makes the three weights."""
        self.kernel = self.add("kernel", (features, 3 * self.units))
        self.kernel_previous = self.add("kernel_previous", (features, 3 * self.units))
        self.bias = self.add("bias", (3 * self.units,))

    def project_inputs(self, inputs: Tensor, training: bool = False) -> list[Tensor]:
        """What this step sees of its inputs, with the bias, and what the next one will see."""
        dropped = self.input_dropout.drop(inputs, training)
        now = ops.matmul(dropped, self.kernel)
        following = ops.matmul(dropped, self.kernel_previous)
        return [now if self.bias is None else now + self.bias, following]
