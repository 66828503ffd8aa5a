"""Every cell of this repository can be measured."""

import keras
import numpy as np
import pytest

import kcells
from kcells.bench.case import Case
from kcells.bench.sizes import Size

CELLS = [
    info.id
    for info in kcells.list_cells()
    if info.distribution == "kcells" or info.distribution.startswith("kcells-plugin-")
]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend")
@pytest.mark.parametrize("name", CELLS)
def test_a_model_of_the_cell(name):
    case = Case(name, Size(2, 3, 4, 6))
    model = case.model(case.build())
    loss = model.train_on_batch(case.inputs, case.targets(model))
    assert np.all(np.isfinite(loss))
