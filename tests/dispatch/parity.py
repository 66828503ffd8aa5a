"""The kernel and the loop over a cell compute the same, under masks of every kind.

That the built-in computes the same as the cell, whatever runs it, is a law of
`kcells.testing`.
"""

import keras
import numpy as np
from keras import ops, tree

import kcells
from kcells.engine.kernels import KERNELS
from kcells.testing import Differentiated

__all__ = ["BATCH", "BUILTINS", "FEATURES", "MASKS", "TIME", "UNITS", "Parity", "differences"]

BUILTINS = sorted({b for k in KERNELS if k.backend == keras.backend.backend() for b in k.builtins})
"""The built-in layers for which this backend has a kernel on some device."""

BATCH, TIME, FEATURES, UNITS = 5, 6, 3, 4

MASKS = {
    "none": None,
    "right-padded": [6, 3, 1, 5, 2],
    "left-padded": [-6, -3, -1, -5, -2],
    "holes": [[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 0], [1] * 6, [0, 0, 1, 0, 0, 0], [1, 0] * 3],
    "empty rows": [[0] * 6, [1, 1, 1, 0, 0, 0], [0] * 6, [0, 1, 1, 0, 1, 1], [1] * 6],
}


def mask_of(kind):
    """A `(BATCH, TIME)` mask; a number stands for the valid steps from that end."""
    rows = MASKS[kind]
    if rows is None:
        return None
    steps = np.arange(TIME)
    return np.array(
        [
            row if isinstance(row, list) else steps < row if row > 0 else steps >= TIME + row
            for row in rows
        ],
        bool,
    )


class Parity:
    """Two layers around one cell, with the options given; one may use kernels."""

    def __init__(self, cell, rng, dtype="float64", masked=True, wrapper=None, **options):
        self.rng, self.dtype, self.masked = rng, dtype, masked
        options = {"return_state": True, **options}
        self.fused, self.loop = (
            kcells.RNN(cell, dispatch=dispatch, **options) for dispatch in ("auto", "never")
        )
        for layer in (self.fused, self.loop):
            layer.build((BATCH, TIME, FEATURES))
        for weight in self.fused.trainable_weights:
            weight.assign(rng.normal(0.0, 0.6, weight.shape))
        self.sides = [Differentiated(layer, self._call(layer)) for layer in (self.fused, self.loop)]

    def _call(self, layer):
        def call(leaves):
            x, mask, *states = leaves
            mask = ops.greater(mask, 0.5) if self.masked else None
            states = tree.pack_sequence_as(self.fused._bound.sizes, states)
            return tree.flatten(layer(x, initial_state=states, mask=mask))

        return call

    def worst(self, kind="none"):
        """The largest difference of any result or gradient, relative to the largest entry."""
        mask = np.ones((BATCH, TIME)) if kind == "none" else mask_of(kind)
        states = tree.flatten(self.loop._bound.sizes)
        leaves = [
            self.rng.normal(size=(BATCH, TIME, FEATURES)),
            mask,
            *(self.rng.normal(size=size.batched(BATCH)) for size in states),
        ]
        leaves = [np.asarray(leaf, self._input_dtype) for leaf in leaves]
        results = tree.flatten(self.loop.compute_output_spec(leaves[0]))
        cotangents = [
            self.rng.normal(size=tuple(spec.shape)).astype(self._input_dtype) for spec in results
        ]
        return differences(*(side(leaves, cotangents) for side in self.sides))

    def check(self, kind="none", tolerance=1e-10):
        where, worst = self.worst(kind)
        assert worst < tolerance, (kind, where)

    @property
    def _input_dtype(self):
        return "float64" if self.dtype == "float64" else "float32"


def differences(ours, theirs):
    """The largest relative difference of two results of `Differentiated`, with its place."""
    found = {}
    for what, mine, other in zip(("result", "gradient"), ours, theirs, strict=True):
        for k, (a, b) in enumerate(zip(mine, other, strict=True)):
            assert a.shape == b.shape
            a, b = a.astype("float64"), b.astype("float64")
            scale = max(np.abs(b).max(initial=0.0), 1e-6)
            found[f"{what} {k}"] = float(np.abs(a - b).max(initial=0.0) / scale)
    return max(found.items(), key=lambda item: item[1])


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)
