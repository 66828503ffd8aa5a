"""Rows of a tiny size on this backend; what they measure is nobody's business here."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kcells
from kcells.bench import backends
from kcells.bench.contest import Contest
from kcells.bench.floor import PASSES, floor_step
from kcells.bench.measure import first_line, measure
from kcells.bench.sides import OURS, SIDES, WORKLOADS, Side, chosen_sides, with_layer
from kcells.bench.sizes import LoopSize

BACKEND = keras.backend.backend()
TINY = LoopSize(2, 3, 4, 5)


def sides(*names: str) -> list[Side]:
    return [SIDES[name] for name in names]


def broken(case, workload):
    raise KeyError("no such thing")


@pytest.mark.parametrize(("cell", "workload"), [("lstm", "predict"), ("mlstm", "train")])
def test_a_row_for_each_side(cell, workload):
    rows = measure(Contest(cell, TINY), workload, sides(OURS, "stock", "floor"), rounds=2)
    assert [row.side for row in rows] == [OURS, "stock", "floor"]
    for row in rows:
        assert row.key == (BACKEND, cell, "2x3x4x5", workload)
        assert not row.error
        assert row.rounds == 2
        assert row.unit == "ms"
        assert row.ours > 0
    assert rows[0].other is rows[0].ratio is None
    for row in rows[1:]:
        assert row.other > 0
        assert 0 < row.low <= row.ratio <= row.high


def test_stock_keras_cannot_run_a_nested_cell():
    ours, stock = measure(Contest("nested", TINY), "predict", sides(OURS, "stock"), rounds=1)
    assert ours.ours > 0
    assert not ours.error
    assert "two inputs a time step" in stock.error
    assert stock.ratio is stock.ours is None


def test_a_side_that_fails_later_is_reported_too():
    failing = Side("failing", lambda case, workload: lambda: 1 / 0)
    idle = Side(OURS, lambda case, workload: lambda: None)
    rows = measure(Contest("lstm", TINY), "train", [idle, failing], rounds=1)
    assert [row.error for row in rows] == ["", "ZeroDivisionError: division by zero"]


def test_without_ours_there_is_one_row():
    idle = Side("stock", lambda case, workload: lambda: None)
    (row,) = measure(Contest("lstm", TINY), "train", [Side(OURS, broken), idle], rounds=1)
    assert (row.side, row.error) == (OURS, "KeyError: 'no such thing'")


def test_a_failure_between_the_rounds_is_no_crash():
    calls = iter(range(100))

    def step():
        if next(calls) > 2:
            raise RuntimeError("tired")

    (row,) = measure(Contest("lstm", TINY), "train", [Side(OURS, lambda c, w: step)], rounds=1)
    assert row.error == "RuntimeError: tired"


def test_a_cell_that_needs_more_than_units_is_reported(monkeypatch):
    class Picky(keras.layers.SimpleRNNCell):
        def __init__(self, units, depth, **kwargs):
            super().__init__(units, **kwargs)

    kcells.register("picky", Picky)
    try:
        (row,) = measure(Contest("picky", TINY), "train", sides(OURS, "stock"), rounds=1)
    finally:
        kcells.unregister("picky")
    assert "depth" in row.error


def test_a_variant_of_ours_is_one_line():
    made = []

    def make(case, **options):
        made.append(options)
        return kcells.RNN(case.cell(), unroll=True, **options)

    step = with_layer(make)(Contest("simple_rnn", TINY), "predict")
    assert np.shape(step()) == (2, 1)
    assert made == [{}]


@pytest.mark.skipif(BACKEND != "torch", reason="the layer alone is compared on PyTorch")
@pytest.mark.parametrize(
    ("cell", "rival"), [("simple_rnn", "torch.nn"), ("mlstm", "torchrecurrent")]
)
def test_the_layers_of_others(cell, rival):
    if rival == "torchrecurrent":
        pytest.importorskip("torchrecurrent")
    rows = measure(Contest(cell, TINY), "layer", chosen_sides(cell, "layer"), rounds=1)
    assert [(row.side, row.error) for row in rows] == [(OURS, ""), (rival, ""), ("floor", "")]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras 2 runs on TensorFlow")
def test_the_cell_of_the_guide_in_keras_2():
    pytest.importorskip("tf_keras")
    step = SIDES["tf_keras"].step(Contest("nested", TINY), "predict")
    assert [np.shape(output) for output in step()] == [(2, 5), (2, 10, 15)]
    ours = SIDES[OURS].step(Contest("nested", TINY), "predict")
    assert [np.shape(output) for output in ours()] == [(2, 5), (2, 10, 15)]


# -- Who takes part


def test_sides_of_a_workload():
    def names(cell, workload, *more):
        return {side.name for side in chosen_sides(cell, workload, more)}

    xla = {"stock_xla"} if BACKEND == "tensorflow" else set()
    guide = {"tf_keras"} if BACKEND == "tensorflow" else set()
    assert names("mlstm", "train") == {OURS, "stock", "floor"} | xla
    assert names("nested", "train") == {OURS, "stock", "floor"} | xla | guide
    assert names("mlstm", "train", "loop") == {OURS, "stock", "floor", "loop"} | xla
    alone = {OURS, "torch.nn", "floor"} if BACKEND == "torch" else set()
    assert names("lstm", "layer") == alone
    assert names("nested", "layer") == set()


def test_ours_comes_first():
    assert all(chosen_sides("lstm", w)[0].name == OURS for w in ("train", "predict"))


# -- The floor


@pytest.mark.parametrize(
    ("cell", "products"),
    [
        ("lstm", [(4, 20), (5, 20)]),
        ("mlstm", [(4, 25), (5, 20), (5, 5)]),
        # A vector of 4 to 5 units, and a matrix of 8 by 4 to 10 by 15.
        ("nested", [(4, 5), (32, 150)]),
        ("parallel", [(4, 15), (4, 20), (5, 15), (5, 20)]),
    ],
)
def test_the_products_of_a_cell(cell, products):
    assert sorted(Contest(cell, TINY).products()) == sorted(products)


def test_the_floor_computes_every_product_at_every_step(monkeypatch):
    asked = []

    def products(shapes, batch, steps):
        asked.append((len(shapes), batch, steps))

    monkeypatch.setattr(backends.current(), "products", products)
    for workload in WORKLOADS:
        floor_step(Contest("lstm", TINY), workload)
    assert asked == [(2, 2, 9), (2, 2, 3), (2, 2, 9)]
    assert PASSES["train"] == 3


def test_a_cell_without_matrices_has_no_floor(monkeypatch):
    monkeypatch.setattr(Contest, "products", lambda self: [])
    with pytest.raises(LookupError, match="lstm multiplies by no matrix"):
        floor_step(Contest("lstm", TINY), "train")


def test_first_line():
    assert first_line(ValueError("\n  one\ntwo")) == "ValueError: one"
    assert first_line(ValueError()) == "ValueError"
    keras_says = "Exception encountered when calling Foo.call().\n\n\x1b[1mwhy\x1b[0m\n\nArguments"
    assert first_line(TypeError(keras_says)) == "TypeError: why"
