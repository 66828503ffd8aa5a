"""What `compare` of the root's conftest is to notice, it notices."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

import kcells


class SumCell(kcells.Cell):
    """h_t = h_{t-1} + w * x_t."""

    state_size = output_size = 2

    def __init__(self, initializer="ones", cut=False, **kwargs):
        super().__init__(**kwargs)
        self.initializer, self.cut = initializer, cut

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(2,), initializer=self.initializer, name="kernel")

    def call(self, inputs, states):
        (h,) = states
        h = (ops.stop_gradient(h) if self.cut else h) + self.kernel * inputs
        return h, [h]


def reference(weights, sequences, h):
    outputs = h[:, None] + np.cumsum(weights["kernel"] * sequences, axis=1)
    return outputs, outputs[:, -1]


def wrong(weights, sequences, h):
    outputs, h = reference(weights, sequences, h)
    return outputs, h + 1e-8


def layer(**options):
    made = kcells.RNN(SumCell(**options), return_sequences=True, return_state=True)
    made.build((3, 4, 2))
    return made


def test_compare(float64, rng, compare):
    sequences = rng.normal(size=(3, 4, 2))
    compare(layer(), sequences, reference)
    with pytest.raises(AssertionError, match="result 1 is off by 1e-08"):
        compare(layer(), sequences, wrong)
    with pytest.raises(AssertionError, match="gradient: kernel is off"):
        compare(layer(cut=True), sequences, reference)
