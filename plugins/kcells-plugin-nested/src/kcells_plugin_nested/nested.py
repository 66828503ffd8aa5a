"""`NestedCell`: a vector and a matrix a time step, summed up over time."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells import Card, Case, Learning, Place, WeightsCell, Workload
from kcells.errors import StructureError
from kcells.types import Structure, Tensor

__all__ = ["NestedCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-nested")
class NestedCell(WeightsCell):
    """Projects a vector and a matrix, and keeps the running sum of both.

    With the vector x1 and the matrix X2 of a time step:

        o1_t = x1_t K1
        O2_t = sum over i, j of X2_t[i, j] K2[i, j]
        s1_t = s1_{t-1} + o1_t
        S2_t = S2_{t-1} + O2_t

    The outputs are o1 and O2, and the states s1 and S2. There is no bias and no
    activation.

    Source: the cell of the Keras guide "Working with RNNs" (Zhu and Chollet 2019),
    section on nested inputs. Dropout is not in the guide.

    Args:
        unit_1: the size of o1 and s1.
        unit_2, unit_3: the sizes of the two axes of O2 and S2.
        kernel_initializer: for both kernels; `"uniform"` in the guide, which is
            `"random_uniform"`, in -0.05 to 0.05.
        kernel_regularizer: for both kernels; none.
        kernel_constraint: for both kernels; none.
        dropout: the share of the inputs that is dropped, the same at every step.
        recurrent_dropout: the same for the states that a step starts from.
        seed: the seed of both.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: a list, tuple or dict of two tensors, in any order: the vector
            `(batch, i1)` and the matrix `(batch, i2, i3)`.
        states: `[(batch, unit_1), (batch, unit_2, unit_3)]`.

    Returns:
        The outputs `(batch, unit_1)` and `(batch, unit_2, unit_3)`, in the container of the
        inputs: what comes from `inputs["pen"]` is `outputs["pen"]`. Then the list of
        the new states.

    Raises:
        ConfigurationError: if a unit is not a positive int.
        StructureError: if the inputs are not one vector and one matrix.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("nested", 4, 2, 3)
    >>> steps = {"position": np.ones((8, 5, 2)), "image": np.ones((8, 5, 6, 7))}
    >>> outputs = layer(steps)
    >>> {key: tuple(value.shape) for key, value in sorted(outputs.items())}
    {'image': (8, 2, 3), 'position': (8, 4)}
    """

    def __init__(
        self,
        unit_1: int,
        unit_2: int,
        unit_3: int,
        kernel_initializer: Any = "random_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dropout, seed, **kwargs)
        self.unit_1 = self.positive("unit_1", unit_1)
        self.unit_2 = self.positive("unit_2", unit_2)
        self.unit_3 = self.positive("unit_3", unit_3)
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.drop_states(recurrent_dropout)
        self.state_size = [unit_1, (unit_2, unit_3)]

    def build(self, input_shape: Structure) -> None:
        shapes = list(input_shape.values()) if isinstance(input_shape, dict) else list(input_shape)
        vectors = [shape for shape in shapes if _rank(shape) == 2]
        matrices = [shape for shape in shapes if _rank(shape) == 3]
        if len(shapes) != 2 or not vectors or not matrices:
            raise StructureError(
                "NestedCell takes two inputs a time step: a vector (batch, i1) and a matrix"
                f" (batch, i2, i3).\n  Received inputs of the shapes {input_shape}."
            )
        self.kernel_1 = self.add("kernel_1", (vectors[0][1], self.unit_1))
        self.kernel_2_3 = self.add("kernel_2_3", (*matrices[0][1:], self.unit_2, self.unit_3))
        self.input_dropout.build(input_shape)
        self.state_dropout.build([(None, self.unit_1), (None, self.unit_2, self.unit_3)])
        self.built = True

    def project_inputs(self, inputs: Structure, training: bool = False) -> Structure:
        inputs = self.input_dropout.drop(inputs, training)
        # A leading time axis adds one to both ranks, so that the matrix stays the larger.
        larger = max(len(leaf.shape) for leaf in tree.flatten(inputs))

        def project(leaf: Tensor) -> Tensor:
            if len(leaf.shape) == larger:
                return ops.tensordot(leaf, self.kernel_2_3, axes=2)
            return ops.matmul(leaf, self.kernel_1)

        return tree.map_structure(project, inputs)

    def step(
        self, projected: Structure, states: Structure, training: bool = False
    ) -> tuple[Structure, Structure]:
        vector, matrix = sorted(tree.flatten(projected), key=lambda leaf: len(leaf.shape))
        state_1, state_2_3 = self.dropped(list(states), training)
        return projected, [state_1 + vector, state_2_3 + matrix]

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        units = {"unit_1": 4, "unit_2": 2, "unit_3": 3}
        return Card(
            [
                Case(units, inputs=[(2,), (3, 5)], name="list"),
                Case(units, inputs={"b": (2,), "a": (3, 5)}, name="dict"),
            ],
            others={"unit_1": 1, "unit_2": 3, "unit_3": 2},
            arguments=_as_the_guide,
            inputs=lambda at: ((at.features,), (2 * at.features, at.features)),
            gates="",
            # Section "Nested inputs" of the guide has these sizes, and trains like this.
            workload=Workload(
                [(64, 50, 32, 10)],
                divisor=8,
                head=False,
                optimizer="adam",
                peers={"tf_keras": "NestedCell"},
            ),
            learning=Learning(_of_rows, _vector_and_matrix, multiple=2, problems=("rows",)),
        )


def _rank(shape: Any) -> int | None:
    is_shape = isinstance(shape, (list, tuple)) and all(
        dim is None or isinstance(dim, int) for dim in shape
    )
    return len(shape) if is_shape else None


def _as_the_guide(at: Place) -> dict[str, int]:
    return {"unit_1": at.units, "unit_2": 2 * at.units, "unit_3": 3 * at.units}


def _of_rows(at: Place) -> dict[str, int]:
    return {"unit_1": at.units, "unit_2": 2, "unit_3": max(1, at.units // 2)}


def _vector_and_matrix(row: Tensor) -> tuple[Tensor, Tensor]:
    return row, ops.reshape(row, (-1, *row.shape[1:-1], 2, row.shape[-1] // 2))
