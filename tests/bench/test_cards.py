"""Every cell of this repository can be measured, and a stranger's that says how."""

import keras
import numpy as np
import pytest
from keras import ops

import kcells
from kcells.bench.contest import Contest
from kcells.bench.sizes import LoopSize

CELLS = [
    info.id
    for info in kcells.list_cells()
    if info.distribution == "kcells" or info.distribution.startswith("kcells-plugin-")
]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend")
@pytest.mark.parametrize("name", CELLS)
def test_a_model_of_the_cell(name):
    case = Contest(name, LoopSize(2, 3, 4, 6))
    model = case.model(case.build())
    loss = model.train_on_batch(case.inputs, case.targets(model))
    assert np.all(np.isfinite(loss))


class Mixed(kcells.Cell):
    """Takes a pen and an image, and is not made with units."""

    def __init__(self, size, order, **kwargs):
        super().__init__(**kwargs)
        self.size, self.order = size, order
        self.state_size = self.output_size = size

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape["pen"][-1], self.size), name="kernel")
        self.lens = self.add_weight(shape=(*input_shape["image"][1:], self.size), name="lens")

    def call(self, inputs, states):
        seen = ops.einsum("bij,iju->bu", inputs["image"], self.lens)
        state = ops.tanh(ops.matmul(inputs["pen"], self.kernel) + seen + states[0])
        return state, [state]

    @classmethod
    def card(cls):
        return kcells.Card(
            [kcells.Case({"size": 4, "order": 2}, inputs={"pen": (2,), "image": (3, 2)})],
            arguments=lambda at: {"size": at.units, "order": 2},
            inputs=lambda at: {"pen": (at.features,), "image": (3, 2)},
        )


@pytest.fixture
def mixed():
    kcells.register("mixed_for_a_card", Mixed)
    yield "mixed_for_a_card"
    kcells.unregister("mixed_for_a_card")


def test_a_strangers_cell_is_measured_as_its_card_says(mixed):
    case = Contest(mixed, LoopSize(2, 3, 5, 6))
    assert case.shapes == {"image": (2, 3, 3, 2), "pen": (2, 3, 5)}
    model = case.model(case.build())
    assert np.isfinite(model.train_on_batch(case.inputs, case.targets(model)))
    assert case.products() == [(5, 6)]


def test_a_cell_that_does_not_say_how_it_is_made():
    class Silent(Mixed):
        card = None

    kcells.register("silent_for_a_card", Silent)
    try:
        with pytest.raises(kcells.errors.ConfigurationError, match="Silent needs size, order, and"):
            Contest("silent_for_a_card", LoopSize(2, 3, 5, 6)).build()
    finally:
        kcells.unregister("silent_for_a_card")
