"""Every equivalent cell, by kernel and in the loop: outputs, states, all gradients."""

import itertools

import keras
import numpy as np
import pytest
from equivalents import (
    BasicLSTMCell,
    LyingGRUCell,
    LyingLSTMCell,
    PeepholeLSTMCell,
    ResetFirstGRUCell,
)
from keras import layers, ops
from parity import BATCH, BUILTINS, FEATURES, MASKS, TIME, UNITS, Parity, differences, mask_of

import kcells
from kcells.testing import ConformanceError, Differentiated, check_cell

_ALL_CELLS = {
    "LSTMCell": ("lstm", lambda: layers.LSTMCell(UNITS)),
    "GRUCell": ("gru", lambda: layers.GRUCell(UNITS)),
    "BasicLSTMCell": ("lstm", lambda: BasicLSTMCell(UNITS, forget_bias=0.7)),
    "ResetFirstGRUCell": ("gru", lambda: ResetFirstGRUCell(UNITS)),
    "PeepholeLSTMCell": ("lstm", lambda: PeepholeLSTMCell(UNITS)),
}
CELLS = {name: make for name, (builtin, make) in _ALL_CELLS.items() if builtin in BUILTINS}
OF_KERAS = [name for name in ("LSTMCell", "GRUCell") if name in CELLS]


def crossed(*names):
    return [
        pytest.param(dict(zip(names, values, strict=True)), id=str(values))
        for values in itertools.product([False, True], repeat=len(names))
    ]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("options", crossed("go_backwards", "return_sequences"))
def test_without_a_mask(name, options, kernels, float64, rng):
    parity = Parity(CELLS[name](), rng, masked=False, **options)
    assert parity.fused._plan.calls_kernel
    assert not parity.loop._plan.calls_kernel
    parity.check()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("options", crossed("go_backwards", "return_sequences"))
def test_under_every_mask(name, options, kernels, float64, rng):
    parity = Parity(CELLS[name](), rng, **options)
    for kind in MASKS:
        parity.check(kind)


@pytest.mark.parametrize("name", OF_KERAS)
@pytest.mark.parametrize("options", crossed("go_backwards", "return_sequences"))
def test_with_zeros_at_masked_steps(name, options, kernels, float64, rng):
    parity = Parity(CELLS[name](), rng, zero_output_for_mask=True, **options)
    for kind in ("right-padded", "holes", "empty rows"):
        parity.check(kind)


@pytest.mark.parametrize("name", OF_KERAS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.05)])
def test_in_other_dtypes(name, dtype, tolerance, kernels, rng):
    keras.config.set_dtype_policy(dtype)
    parity = Parity(CELLS[name](), rng, dtype=dtype, return_sequences=True)
    compute_dtype = parity.fused.compute_dtype
    assert parity.fused._plan.calls_kernel == (compute_dtype in kernels.dtypes)
    for kind in ("right-padded", "holes"):
        parity.check(kind, tolerance)


@pytest.mark.parametrize("name", OF_KERAS)
@pytest.mark.parametrize("kind", ["none", "holes"])
def test_without_states(name, kind, kernels, float64, rng):
    """Where nobody wants the states, an LSTM under a mask takes a shorter way."""
    cell = CELLS[name]()
    for sequences in (True, False):
        parity = Parity(cell, rng, return_state=False, return_sequences=sequences)
        parity.check(kind)


@pytest.mark.parametrize("name", OF_KERAS)
def test_what_is_masked_does_not_count_even_if_it_is_no_number(name, kernels, rng):
    layer = kcells.RNN(CELLS[name](), dispatch="auto", return_sequences=True)
    mask = mask_of("holes")
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    layer.build(x.shape)
    spoilt = np.where(mask[..., None], x, np.nan).astype("float32")
    call = Differentiated(layer, lambda leaves: [layer(leaves[0], mask=mask)])
    cotangent = [np.ones((BATCH, TIME, UNITS), "float32")]
    where, worst = differences(call([spoilt], cotangent), call([x], cotangent))
    assert worst < 1e-6, where


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("kinds", [["none"], [kind for kind in MASKS if kind != "none"]])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_both_directions(name, kinds, return_sequences, kernels, float64, rng, monkeypatch):
    from kcells.layers import bidirectional

    runs = []
    run = bidirectional.execute_both
    monkeypatch.setattr(bidirectional, "execute_both", lambda *args: runs.append(1) or run(*args))
    options = {"return_sequences": return_sequences, "return_state": True}
    fused, loop = (
        kcells.Bidirectional(kcells.build(name, UNITS, dispatch=dispatch, **options))
        for dispatch in ("auto", "never")
    )
    for layer in (fused, loop):
        layer.build((BATCH, TIME, FEATURES))
    for ours, theirs in zip(fused.weights, loop.weights, strict=True):
        ours.assign(rng.normal(0.0, 0.6, ours.shape))
        theirs.assign(ours)
    masked = kinds != ["none"]

    def side(layer):
        def call(leaves):
            return list(layer(leaves[0], mask=ops.greater(leaves[1], 0.5) if masked else None))

        return Differentiated(layer, call)

    sides = [side(fused), side(loop)]
    x = rng.normal(size=(BATCH, TIME, FEATURES))
    shapes = [tuple(spec.shape) for spec in loop.compute_output_spec(x)]
    cotangents = [rng.normal(size=shape) for shape in shapes]
    for kind in kinds:
        leaves = [x, np.asarray(mask_of(kind) if masked else np.ones((BATCH, TIME)), "float64")]
        where, worst = differences(*(each(leaves, cotangents) for each in sides))
        assert worst < 1e-10, (kind, where)
    assert bool(runs) == kernels.both_directions


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("kind", ["none", "right-padded"])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_against_the_layer_of_keras(name, kind, go_backwards, kernels, rng):
    """Which shares no code with kcells, neither loop nor kernel."""
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    ours = kcells.build(name, UNITS, **options)
    stock = {"lstm": layers.LSTM, "gru": layers.GRU}[name]
    theirs = stock(UNITS, use_cudnn=False, **options)
    for layer in (ours, theirs):
        layer.build((BATCH, TIME, FEATURES))
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        mine.assign(rng.normal(0.0, 0.6, mine.shape))
        other.assign(mine)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    results = [layer(x, mask=mask_of(kind)) for layer in (ours, theirs)]
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(mine), ops.convert_to_numpy(other), rtol=1e-5, atol=1e-6
        )


LIARS = {"lstm": LyingLSTMCell, "gru": LyingGRUCell}


@pytest.mark.parametrize("builtin", BUILTINS)
def test_a_lie_is_found_out(builtin, kernels, float64, rng):
    cell_class = LIARS[builtin]
    assert Parity(cell_class(UNITS), rng, return_sequences=True).worst("holes")[1] > 1e-2
    with pytest.raises(ConformanceError, match=f"between the cell and the {builtin} that it decl"):
        check_cell(cell_class, arguments={"units": UNITS}, only="equivalent")
