"""What makes a cell linear, and what is said to one that is not."""

import numpy as np
import pytest
from calls_and_gradients import (
    assert_same,
    call,
    close,
)
from keras import layers, ops
from linear_cells import FEATURES, Bare, Constant, Gated, built, sequences

import kcells

BATCH, TIME = 3, 6


# -- Subclasses of linear cells


class Scaled(Gated):
    def step(self, projected, states, training=False):
        outputs, states = super().step(projected, states, training=training)
        return 3.0 * outputs, states


class Looped(Gated):
    is_linear = False


class Late(Gated):
    def __init__(self, linear, **kwargs):
        super().__init__(**kwargs)
        self.linear = linear

    @property
    def is_linear(self):
        return self.linear


@pytest.mark.parametrize(
    ("kind", "path", "factor"),
    [
        (Scaled, "loop", 3.0),
        (Looped, "loop", 1.0),
        (lambda: Late(True), "parallel", 1.0),
        (lambda: Late(False), "loop", 1.0),
        (type("More", (Scaled,), {"linear_recurrence": Gated.linear_recurrence}), "parallel", 1.0),
    ],
    ids=["scaled", "looped", "late", "late and not", "linear again"],
)
def test_subclasses(float64, rng, kind, path, factor):
    x = sequences(rng, "float64")
    cell, plain = built(kind()), built(Gated())
    assert cell.is_linear == (path == "parallel")
    layer = kcells.RNN(cell, return_sequences=True)
    assert layer._plan.path == path
    close(layer(x), factor * kcells.RNN(plain, return_sequences=True)(x))


# -- What a cell says of itself


@pytest.mark.parametrize("masked", [False, True])
def test_bare_coefficients(float64, rng, masked):
    cell, x = built(Bare()), sequences(rng, "float64")
    mask = rng.random((BATCH, TIME)) < 0.6 if masked else None
    options = {"return_sequences": True, "return_state": True}
    auto, never = (kcells.RNN(cell, parallel=p, **options) for p in ("auto", "never"))
    assert (auto._plan.path, never._plan.path) == ("parallel", "loop")
    assert_same(call(auto, x, mask=mask), call(never, x, mask=mask))


@pytest.mark.parametrize("kind", [Bare, Gated, Constant])
@pytest.mark.parametrize("sequences", [False, True])
def test_the_layer_of_keras(rng, kind, sequences):
    cell = built(kind())
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    options = {"return_sequences": sequences, "return_state": True}
    ours, theirs = (c(cell, **options) for c in (kcells.RNN, layers.RNN))
    close(ours(x), theirs(x), 1e-5)
    if kind is Gated:
        # On JAX, Keras fills masked steps with the state, which here is the output.
        mask = ops.convert_to_tensor(np.arange(TIME) < np.array([[6], [3], [1]]))
        close(ours(x, mask=mask), theirs(x, mask=mask), 1e-5)


WRONG = {
    "None": (lambda r: None, kcells.errors.CellError, "it returned NoneType"),
    "two": (lambda r: (r.a, r.b), kcells.errors.CellError, "it returned tuple"),
    "product": (
        lambda r: r._replace(product="complexx"),
        kcells.errors.CellError,
        "received 'complexx'",
    ),
    "leaves": (
        lambda r: r._replace(a=[r.a, r.a]),
        kcells.errors.StructureError,
        "a has another structure",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("parallel", ["auto", "never"])
def test_no_recurrence(rng, wrong, parallel):
    change, error, message = WRONG[wrong]

    class Mistaken(Bare):
        def linear_recurrence(self, projected):
            return change(super().linear_recurrence(projected))

    x = sequences(rng)
    match = rf"Mistaken\.linear_recurrence(.|\n)*{message}"
    with pytest.raises(error, match=match):
        kcells.RNN(Mistaken(), parallel=parallel)(x)
    cell = built(Mistaken())
    with pytest.raises(error, match=match):
        cell(x[:, 0], [np.zeros((BATCH, 4), "float32")])
