"""The plan: a pure function, so every answer is checked without a layer or a machine."""

import dataclasses
import itertools

import keras
import pytest

import kcells
from kcells.cells.equivalence import KernelFacts
from kcells.engine import backends, conditions
from kcells.engine.facts import CallFacts, CellFacts, sized
from kcells.engine.kernels import KERNELS, Machine, kernel_for
from kcells.engine.options import Options
from kcells.engine.plan import choose
from kcells.engine.thresholds import THRESHOLDS
from kcells.reasons import Reason

AUTO = Options(dispatch="auto")


def against(plan):
    return [reason.condition for reason in plan.reasons if not reason.holds]


@pytest.mark.parametrize(
    ("backend", "device", "builtin", "kernel"),
    [
        ("tensorflow", "gpu", "lstm", "cudnn"),
        ("tensorflow", "gpu", "gru", "cudnn"),
        ("tensorflow", "cpu", "lstm", "loop"),
        ("tensorflow", "cpu", "gru", "loop"),
        ("jax", "gpu", "lstm", "cudnn"),
        ("jax", "gpu", "gru", "loop"),
        ("jax", "cpu", "lstm", "loop"),
        ("jax", "cpu", "gru", "loop"),
        ("torch", "gpu", "lstm", "cudnn"),
        ("torch", "gpu", "gru", "cudnn"),
        ("torch", "cpu", "lstm", "native"),
        ("torch", "cpu", "gru", "native"),
    ],
)
def test_what_each_machine_has(backend, device, builtin, kernel):
    plan = choose(CellFacts(builtin), AUTO, Machine(backend, device))
    assert (plan.path, plan.kernel) == ("fused", kernel)
    assert plan.calls_kernel == (kernel != "loop")


def test_every_kernel_of_the_table_was_in_a_case():
    assert {(k.backend, k.device) for k in KERNELS if "" in k.files} == {
        ("tensorflow", "gpu"),
        ("jax", "gpu"),
        ("torch", "gpu"),
        ("torch", "cpu"),
    }


@pytest.mark.parametrize(
    ("machine", "kernel"),
    [
        (Machine("tensorflow", file="onnx"), "operator"),
        (Machine("tensorflow", "gpu", file="onnx"), "operator"),
        (Machine("tensorflow", "gpu", file="litert"), "loop"),
        (Machine("tensorflow", file="litert"), "loop"),
        (Machine("jax", "gpu", file="tf_saved_model"), "loop"),
        (Machine("torch", file="onnx"), "native"),
        (Machine("torch", "gpu", file="onnx"), "cudnn"),
    ],
)
def test_what_a_file_may_hold(machine, kernel):
    plan = choose(CellFacts("lstm"), AUTO, machine)
    assert (plan.path, plan.kernel, plan.compiles) == ("fused", kernel, False)
    other = choose(CellFacts(), AUTO, machine)
    assert (other.path, other.compiles) == ("loop", False)


@pytest.mark.parametrize(
    ("cell", "layer", "condition"),
    [
        ({}, {"dispatch": "never"}, "a built-in layer may stand in"),
        ({}, {"unroll": True}, "the loop is not unrolled"),
        ({}, {"takes_constants": True}, "the cell gets no constants"),
        ({"activation": "relu"}, {}, "activation is tanh"),
        ({"recurrent_activation": "hard_sigmoid"}, {}, "recurrent_activation is sigmoid"),
        ({"use_bias": False}, {}, "there are biases"),
        ({"recurrent_dropout": 0.1}, {}, "there is no recurrent dropout"),
        ({"reset_after": False}, {}, "the reset gate acts after the product"),
    ],
)
def test_each_condition_alone_keeps_the_kernel_away(cell, layer, condition):
    layer = dict(layer)
    constants = layer.pop("takes_constants", False)
    plan = choose(
        CellFacts("gru", kernel=KernelFacts(**cell)),
        dataclasses.replace(AUTO, **layer),
        Machine("torch"),
        CallFacts(takes_constants=constants),
    )
    assert plan.path == ("unrolled" if layer.get("unroll") else "loop")
    assert against(plan)[0] == condition
    others = {"the input side depends on the inputs alone"} if constants else set()
    assert set(against(plan)) - others - HOISTING == {condition}


HOISTING = {
    "the step has an input side of its own, in the layer's dtype policy",
    "the loop is compiled by itself",
}


def test_the_order_of_reset_matters_to_a_gru_only():
    facts = KernelFacts(reset_after=False)
    assert choose(CellFacts("lstm", kernel=facts), AUTO, Machine("torch")).path == "fused"


def test_dropout_of_inputs_is_known_for_the_cells_of_keras_only():
    facts = KernelFacts(dropout=0.1)
    assert choose(CellFacts("gru", kernel=facts), AUTO, Machine("torch")).path == "fused"
    other = choose(CellFacts("gru", kernel=facts, is_keras=False), AUTO, Machine("torch"))
    assert (other.path, against(other)[0]) == ("loop", "the cell drops no inputs")


@pytest.mark.parametrize("builtin", [None, "simple_rnn"])
def test_cells_without_kernels(builtin):
    plan = choose(CellFacts(builtin), AUTO, Machine("torch"))
    assert (plan.path, plan.kernel) == ("loop", "loop")


def test_conditions_of_the_author_count():
    condition = Reason("there are no peepholes", False, "True")
    plan = choose(CellFacts("lstm", (condition,)), AUTO, Machine("torch"))
    assert plan.path == "loop"
    assert condition in plan.reasons


@pytest.mark.parametrize(
    ("machine", "condition"),
    [
        (Machine("tensorflow", "gpu", xla=True), "XLA does not stand in the way"),
        (Machine("tensorflow", "gpu", "bfloat16"), "the kernel takes the dtype"),
        (Machine("jax", "gpu", "float16"), "the kernel takes the dtype"),
        (Machine("torch", "cpu", "float16"), "the kernel takes the dtype"),
        (Machine("jax", "cpu"), "the backend has a kernel on this device"),
        (Machine("torch", transformed=True), "no transform looks inside of the call"),
    ],
)
def test_what_the_machine_cannot_do_is_left_to_the_loop(machine, condition):
    plan = choose(CellFacts("lstm", splits_step=True), AUTO, machine)
    assert (plan.path, plan.kernel) == ("fused", "loop")
    assert against(plan)[0] == condition


@pytest.mark.parametrize("transformed", [False, True])
def test_steps_are_repeated_where_no_transform_looks_inside(transformed):
    layer = Options(checkpoint=True)
    plan = choose(CellFacts(), layer, Machine("torch", transformed=transformed))
    assert ("the backward pass repeats blocks of steps" in against(plan)) == transformed


def test_a_masked_wrapper_takes_single_steps_where_nothing_can_be_sorted():
    cell = CellFacts(members=(CellFacts("lstm"),), wraps=True)
    for mask, machine, wraps in (
        ("none", Machine("jax", file="onnx"), True),
        ("not known yet", Machine("jax", file="onnx"), False),
        ("not known yet", Machine("jax", file="tf_saved_model"), True),
    ):
        plan = choose(cell, AUTO, machine, CallFacts(mask))
        assert (plan.wraps, bool(plan.members)) == (wraps, wraps)
    assert choose(cell, Options(unroll=True), Machine("jax", file="onnx")).path == "unrolled"


@pytest.mark.parametrize("mask", ["left-padded", "with holes", "with a fully masked row"])
def test_no_mask_keeps_the_kernel_away(mask):
    plan = choose(CellFacts("lstm"), AUTO, Machine("torch"), CallFacts(mask))
    assert plan.calls_kernel
    assert against(plan) == ["the mask is right-padded, no row fully masked"]


@pytest.fixture
def measured(monkeypatch):
    """The thresholds that users have, which the other tests do not."""
    monkeypatch.setattr(conditions, "THRESHOLDS", THRESHOLDS)
    choose.cache_clear()
    yield
    choose.cache_clear()


@pytest.mark.parametrize(
    ("machine", "features", "batch", "path"),
    [
        (Machine("jax"), 16, 64, "loop"),
        (Machine("jax"), 64, 64, "parallel"),
        (Machine("jax"), 0, 0, "parallel"),
        (Machine("jax", "gpu"), 16, 64, "parallel"),
        (Machine("jax", file="onnx"), 16, 64, "parallel"),
        (Machine("tensorflow"), 16, 64, "parallel"),
        (Machine("torch"), 16, 64, "parallel"),
    ],
)
def test_a_linear_cell_takes_the_loop_where_it_is_faster(measured, machine, features, batch, path):
    cell = CellFacts(is_linear=True, splits_step=True)
    plan = choose(cell, Options(), machine, CallFacts("none", features=features, batch=batch))
    assert plan.path == path
    inside = CellFacts(members=(cell,), wraps=True)
    call = CallFacts("none", features=features, batch=batch)
    assert choose(inside, Options(), machine, call).path == "parallel"


def test_the_sizes_of_a_call_are_those_of_its_inputs(measured):
    sequences = [keras.KerasTensor((2, 7, 3)), keras.KerasTensor((2, 7, 4, 5))]
    found = sized(CallFacts("none"), sequences)
    assert (found.mask, found.features, found.batch) == ("none", 23, 2)
    unknown = keras.KerasTensor((None, 7, 3))
    assert sized(CallFacts(), unknown) == CallFacts()


def test_every_condition_is_named_once():
    for cell, layer, machine in itertools.product(
        [CellFacts("gru", splits_step=True), CellFacts("lstm"), CellFacts()],
        [AUTO, Options()],
        [Machine("torch"), Machine("jax")],
    ):
        conditions = [r.condition for r in choose(cell, layer, machine, CallFacts("none")).reasons]
        assert len(conditions) == len(set(conditions))


def test_kernel_for_knows_xla():
    assert kernel_for("lstm", Machine("tensorflow", "gpu")) is not None
    assert kernel_for("lstm", Machine("tensorflow", "gpu", xla=True)) is None


# -- What the backends say of the machine


def test_xla_is_seen_inside_of_a_compiled_function(backend):
    """Holds the private name of TensorFlow that `under_xla` depends on."""
    if backend != "tensorflow":
        assert not backends.current().under_xla()
        return
    import tensorflow as tf

    seen = []

    def look(x):
        seen.append(backends.current().under_xla())
        return x

    one = tf.constant(1.0)
    look(one)
    tf.function(look)(one)
    tf.function(look, jit_compile=True)(one)
    inner = tf.function(look)
    tf.function(
        lambda x: tf.while_loop(lambda i: i < 1, lambda i: inner(i) + 1, [x]), jit_compile=True
    )(tf.constant(0.0))
    assert seen == [False, False, True, True]


def test_device_is_the_cpu_here_or_a_gpu_is_there(backend):
    device = backends.current().device()
    if backend == "torch":
        import torch

        assert device == ("gpu" if torch.cuda.is_available() else "cpu")
        assert backends.current().device(torch.zeros(1)) == "cpu"
    else:
        assert device in ("cpu", "gpu")
        assert kcells.explain(kcells.build("gru", 2)).device == device


def test_float_dtypes_of_the_table_are_names_of_keras():
    for kernel in KERNELS:
        for dtype in kernel.dtypes:
            assert keras.backend.standardize_dtype(dtype) == dtype


@pytest.mark.parametrize(
    ("options", "path", "against"),
    [
        ({}, "parallel", None),
        ({"unroll": True}, "unrolled", "the loop is not to be written out"),
        ({"takes_constants": True}, "loop", "the coefficients depend on the inputs alone"),
        ({"tbptt": 2}, "loop", "the gradient goes back through all steps"),
        ({"parallel": "never"}, "loop", "all steps may be computed at once"),
    ],
    ids=str,
)
@pytest.mark.parametrize("machine", [Machine("tensorflow"), Machine("jax"), Machine("torch")])
def test_a_linear_cell_that_is_a_simple_rnn(machine, options, path, against):
    facts = CellFacts("simple_rnn", is_linear=True, splits_step=True)
    options = dict(options)
    call = CallFacts(takes_constants=options.pop("takes_constants", False))
    chosen = choose(facts, Options(**options), machine, call)
    assert chosen.path == path
    if against is not None:
        assert against in [r.condition for r in chosen.reasons if not r.holds]


@pytest.mark.parametrize("order", [(True, 1), (1, True), (False, 1), (1, False)], ids=str)
def test_the_explanation_of_a_checkpoint(order):
    """Plans are kept, and `True == 1`."""
    choose.cache_clear()
    for checkpoint in order:
        layer = kcells.build("gru", 3, checkpoint=checkpoint)
        explained = kcells.explain(layer)
        reasons = {r.condition: r for r in explained.reasons}
        reason = reasons["the backward pass may keep all steps"]
        assert reason.holds == (not checkpoint)
        assert reason.detail == f"checkpoint={'on' if checkpoint else 'off'}"
        assert ("the backward pass repeats blocks of steps" in reasons) == checkpoint
        assert explained.path == ("loop" if checkpoint else "fused")
