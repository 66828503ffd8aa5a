"""What the kit does besides looking at laws: cases, expectations, tests of pytest, reports."""

from __future__ import annotations

import broken_cells
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import ops
from sound_cells import Curved, Leaky, Memory

import kcells
from kcells.errors import ArgumentError, ConfigurationError, UnknownCellError
from kcells.testing import (
    Case,
    ConformanceError,
    Differentiated,
    check_cell,
    laws,
    parametrize_with_checks,
    run_checks,
)
from kcells.testing.cases import cases_for
from kcells.testing.law import Law, ViolationError
from kcells.testing.numbers import FORWARD, same
from kcells.testing.runner import result_of
from kcells.testing.subject import Subject
from kcells.testing.target import Target
from tests.fake_dists import run_python

QUICK = ["state_size", "initial_state"]


def statuses(report):
    return {result.law: result.status for result in report.results}


def run_law(check, cell=Leaky):
    """The result of a law that is made of a function."""
    target = Target(cell)
    return result_of(Law("made_up", "Something holds.", check), Subject(target, target.cases[0]))


# -- Which laws


def test_all_laws_are_looked_at_in_their_order():
    (check,) = (mark.args[1] for mark in [parametrize_with_checks([Leaky]).mark])
    assert [parameter.values[0].law for parameter in check] == list(laws())


def test_laws_have_one_name_each_and_a_sentence():
    names = [law.name for law in laws()]
    assert len(set(names)) == len(names)
    assert all(law.text.endswith(".") for law in laws())


def test_only_takes_one_name_or_several():
    assert statuses(check_cell(Leaky, only="state_size")) == {"state_size": "passed"}
    assert statuses(check_cell(Leaky, only=QUICK)) == dict.fromkeys(QUICK, "passed")


@pytest.mark.parametrize("option", ["only", "expected_failures"])
def test_an_unknown_law_suggests_the_nearest(option):
    names = {"only": "causalty", "expected_failures": {"causalty": "a reason"}}
    with pytest.raises(ConfigurationError, match=r"no law 'causalty'\. Did you mean 'causality'\?"):
        check_cell(Leaky, **{option: names[option]})


def test_an_unknown_law_that_is_near_to_none_shows_all():
    with pytest.raises(ConfigurationError, match=r"no law 'qqq'\.\n  The laws are docstring, "):
        check_cell(Leaky, only="qqq")


# -- Expected failures


def test_an_expected_failure_is_no_failure():
    report = check_cell(
        broken_cells.ForgetsArgument,
        only=["arguments", "state_size"],
        expected_failures={"arguments": "nobody saves it"},
    )
    assert statuses(report) == {"arguments": "failed as expected", "state_size": "passed"}
    assert report.results[0].reason == "nobody saves it"
    assert not report.failures
    assert str(report) == "1 failed as expected, 1 passed"


def test_what_passes_unexpectedly_is_bad():
    with pytest.raises(ConformanceError) as error:
        check_cell(Leaky, only="state_size", expected_failures={"state_size": "it is old"})
    assert str(error.value).splitlines()[:2] == [
        f"state_size PASSED UNEXPECTEDLY: Leaky, backend {keras.backend.backend()}",
        "  it was expected to fail: it is old",
    ]


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_an_expected_failure_needs_a_reason(reason):
    with pytest.raises(
        ConfigurationError, match="'arguments' is expected to fail without a reason"
    ):
        check_cell(Leaky, only="arguments", expected_failures={"arguments": reason})


def test_all_failures_are_in_the_error():
    with pytest.raises(ConformanceError) as error:
        check_cell(broken_cells.NoDocstring, only=["docstring", "state_size"], seed=3)
    assert str(error.value).startswith("docstring FAILED: NoDocstring, backend ")
    assert str(error.value).endswith('check_cell(NoDocstring, only="docstring", seed=3)')


# -- What a cell is made with


INDEXED = {"pen": (3,), "index": ()}


@broken_cells.registered
class Odd(Leaky):
    """A leaky sum of two inputs, one of them an index, drawn by the cell's own sample."""

    def __init__(self, units, width, **kwargs):
        super().__init__(units, **kwargs)
        self.width = width

    def build(self, input_shape):
        super().build((None, self.width))

    def project_inputs(self, inputs, training=False):
        chosen = ops.one_hot(inputs["index"], self.width, dtype=self.compute_dtype)
        return super().project_inputs(inputs["pen"] + chosen, training)

    def equivalent(self):
        return None

    def get_config(self):
        return {**super().get_config(), "width": self.width}

    @classmethod
    def check_cases(cls):
        return [Case({"units": 4, "width": 3}, INDEXED, sample=cls.sample)]

    @staticmethod
    def sample(rng, batch, time):
        return {
            "pen": rng.normal(size=(batch, time, 3)).astype("float32"),
            "index": rng.integers(0, 3, (batch, time)).astype("int32"),
        }


class Several(Odd):
    @classmethod
    def check_cases(cls):
        (case,) = super().check_cases()
        small = Case({"units": 2, "width": 3}, INDEXED, "small", cls.sample)
        return [case, case, small]


ODD_LAWS = [
    *("mask", "causality", "batch", "chunking", "side_effects", "project_inputs"),
    *("linear_recurrence", "finite_differences", "mixed_precision", "dynamic_shapes", "wrappers"),
]


def test_structures_ints_and_samples_go_through_the_laws():
    report = check_cell(Odd, only=ODD_LAWS)
    assert {result.status for result in report.results} == {"passed"}, str(report)
    assert {result.case for result in report.results} == {""}, "one case needs no name"


def test_cases_of_a_class_have_names():
    results = list(run_checks(Several, only=["docstring", "state_size"]))
    assert [(r.law, r.case) for r in results] == [
        ("docstring", "units=4,width=3 0"),
        ("state_size", "units=4,width=3 0"),
        ("state_size", "units=4,width=3 1"),
        ("state_size", "small"),
    ]
    assert str(results[0]).startswith("docstring FAILED: Several, case units=4,width=3 0, backend ")


def test_the_callers_arguments_come_first():
    report = check_cell(
        Odd,
        arguments={"units": 1, "width": 2},
        inputs={"pen": (2,), "index": ()},
        only="docstring",
        expected_failures={"docstring": "it has none"},
    )
    assert report.results[0].case == ""


def test_arguments_that_cannot_be_guessed():
    class Wants(Leaky):
        def __init__(self, units, heads, *, width):
            super().__init__(units)

    with pytest.raises(ConfigurationError, match="Wants needs heads, width, and has no card"):
        check_cell(Wants)


def test_units_are_guessed_and_nothing_else():
    class Fixed(Leaky):
        def __init__(self, size=2, **kwargs):
            super().__init__(size, **kwargs)

    assert [case.arguments for case in cases_for(Leaky, None, None)] == [{"units": 4}]
    assert [case.arguments for case in cases_for(Fixed, None, (2,))] == [{}]


def test_the_line_names_arguments_and_inputs():
    with pytest.raises(ConformanceError) as error:
        check_cell(broken_cells.NoDocstring, arguments={"units": 2}, inputs=(5,), only="docstring")
    line = (
        "check_cell(NoDocstring, arguments={'units': 2}, inputs=(5,), only=\"docstring\", seed=0)"
    )
    assert str(error.value).endswith(line)


def test_a_cell_that_is_made_is_copied():
    cell = Leaky(2, name="mine")
    report = check_cell(cell, only=[*QUICK, "config", "wrappers", "mixed_precision"])
    assert set(statuses(report).values()) == {"passed"}
    assert not cell.built
    with pytest.raises(ArgumentError, match="Leaky is made already, so it takes no arguments"):
        check_cell(cell, arguments={"units": 2})


def test_the_line_of_a_cell_that_is_made_calls_it_cell():
    cell = broken_cells.ForgetsArgument(2)
    (result,) = run_checks(cell, only="arguments")
    with pytest.raises(ConformanceError, match="get_config leaves out dropout"):
        eval(result.reproduce, {"cell": cell, "kcells": kcells})  # noqa: S307  our own line


class PlainCell:
    """No Keras layer, and no weights.

        h_t = h_{t-1} / 2 + x_t

    Source: written for these tests in 2026.
    """

    state_size = 3

    def call(self, inputs, states):
        h = states[0] / 2 + inputs
        return h, [h]


@pytest.mark.parametrize("cell", [PlainCell, PlainCell()], ids=["class", "instance"])
def test_a_plain_object_keeps_what_it_can(cell):
    expensive = {"compiled", "paths", "finite_differences"}
    report = check_cell(cell, only={law.name for law in laws()} - expensive)
    skipped = {r.law for r in report.results if "no Keras layer" in r.reason}
    assert skipped == {
        *("arguments", "registration", "config", "clone", "saving", "wrappers"),
        *("mixed_precision", "stock", "survival", "weight_arguments"),
    }
    passed = {r.law for r in report.results if r.status == "passed"}
    assert {"mask", "chunking", "gradients", "dynamic_shapes"} <= passed


def test_an_id_is_shown_with_its_distribution():
    (result,) = run_checks("gru", only="state_size")
    assert str(result).startswith('state_size PASSED: "gru" (kcells ')
    assert result.reproduce == 'kcells.testing.check_cell("gru", only="state_size", seed=0)'


def test_an_unknown_cell():
    with pytest.raises(UnknownCellError, match="gruu"):
        check_cell("gruu")


def test_a_cell_of_another_distribution_is_registered_wrongly():
    target = Target(Leaky)
    target.distribution = "kcells-plugin-leaky"
    (law,) = (law for law in laws() if law.name == "registration")
    result = result_of(law, Subject(target, target.cases[0]))
    expected = "registered under 'kcells-tests', and its distribution is 'kcells-plugin-leaky'"
    assert expected in result.reason


def test_a_class_in_a_function_cannot_be_loaded_elsewhere():
    @broken_cells.registered
    class Local(Leaky):
        pass

    (result,) = run_checks(Local, only="saving")
    assert result.status == "skipped"
    assert "Local is not in a module that could be imported" in result.reason


def test_another_seed_gives_other_weights_and_sequences():
    first, again, other = (Subject(Target(Leaky), Case({"units": 4}), seed) for seed in (0, 0, 1))
    same(again.weights, first.weights, "weights", 0.0)
    same(again.inputs, first.inputs, "inputs", 0.0)
    for root in ("weights", "inputs"):
        with pytest.raises(ViolationError):
            same(getattr(other, root), getattr(first, root), root)


# -- As tests


def checks_of(*args, **kwargs):
    parameters = parametrize_with_checks(*args, **kwargs).mark.args[1]
    return {parameter.id: parameter for parameter in parameters}


def test_each_law_becomes_a_test():
    checks = checks_of([(Leaky, {"arguments": {"units": 2}}), "gru"])
    assert len(checks) == 2 * len(laws())
    check = checks["Leaky-state_size"].values[0]
    assert check.subject.case.arguments == {"units": 2}
    assert check() is None
    assert "gru-state_size" in checks


def test_a_check_fails_and_skips_as_pytest_does():
    cell = broken_cells.NoDocstring
    checks = checks_of([cell], expected_failures={cell: {"docstring": "it is a test"}})
    with pytest.raises(pytest.xfail.Exception, match="it is a test"):
        checks["NoDocstring-docstring"].values[0]()
    with pytest.raises(pytest.skip.Exception, match="no file of another backend was given"):
        checks["NoDocstring-backends"].values[0]()
    with pytest.raises(ConformanceError, match="NoDocstring has no docstring of its own"):
        checks_of([cell])["NoDocstring-docstring"].values[0]()


def test_a_check_that_passes_unexpectedly_fails():
    checks = checks_of([Leaky], expected_failures={Leaky: {"state_size": "it is old"}})
    with pytest.raises(ConformanceError, match="PASSED UNEXPECTEDLY"):
        checks["Leaky-state_size"].values[0]()


def test_laws_are_marked():
    checks = checks_of([Leaky], marks={"saving": pytest.mark.slow})
    marked = [name for name, parameter in checks.items() if parameter.marks]
    assert marked == ["Leaky-saving"]


def test_checks_of_a_wrong_name_are_refused():
    with pytest.raises(ConfigurationError, match="Did you mean 'saving'"):
        parametrize_with_checks([Leaky], marks={"savings": pytest.mark.slow})
    with pytest.raises(ConfigurationError, match="Did you mean 'saving'"):
        parametrize_with_checks([Leaky], expected_failures={Leaky: {"savings": "old"}})
    with pytest.raises(ConfigurationError, match="speaks of 'gru', which is not among the cells"):
        parametrize_with_checks([Leaky], expected_failures={"gru": {"saving": "old"}})


@pytest.mark.once
def test_the_kit_needs_no_pytest(tmp_path, backend):
    shown = run_python(
        """
        import sys

        sys.modules["pytest"] = None
        from kcells.testing import check_cell

        print(check_cell("gru", only=["state_size", "mask"]))
        """,
        cwd=tmp_path,
        KERAS_BACKEND=backend,
    )
    assert shown.splitlines()[-1] == "2 passed"


# -- What goes wrong inside of a law


def test_an_exception_is_a_failure_with_a_traceback():
    def check(subject):
        raise KeyError("nobody expects this")

    result = run_law(check)
    assert result.status == "failed"
    assert result.reason == "KeyError: 'nobody expects this'"
    lines = str(result).splitlines()
    assert lines[-1].strip() == 'raise KeyError("nobody expects this")'
    assert "runner.py" not in result.traceback


def test_an_error_of_kcells_speaks_for_itself():
    def check(subject):
        raise ConfigurationError("this cannot be")

    result = run_law(check)
    assert (result.reason, result.traceback) == ("ConfigurationError: this cannot be", "")


def test_a_number_that_is_off_is_shown():
    def check(subject):
        raise ViolationError("states[0] differs", "states[0]", 0.4142, 1e-5)

    result = run_law(check)
    assert (result.leaf, result.difference, result.allowed) == ("states[0]", 0.4142, 1e-5)
    assert "  states[0] differs: largest difference 0.41 (allowed 1e-05)" in str(result)


@pytest.fixture
def promotion():
    """Keras' table of what becomes of float64, as it was before the test."""
    from keras.src.backend.common import dtypes

    table = dtypes.BIT64_TO_BIT32_DTYPE
    before = dict(table)
    yield table
    assert table == before


def test_global_settings_come_back_after_a_failure(promotion):
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_floatx("float16")

    def check(subject):
        assert keras.config.dtype_policy().name == "float32"
        with subject.double_precision():
            assert keras.config.floatx() == promotion["float64"] == "float64"
            raise RuntimeError("in the middle")

    assert run_law(check).reason == "RuntimeError: in the middle"
    assert keras.config.is_traceback_filtering_enabled()
    assert keras.config.dtype_policy().name == "mixed_float16"
    assert keras.config.floatx() == "float16"


def test_jax_keeps_its_precision(backend, promotion):
    if backend != "jax":
        pytest.skip("it has no such setting")
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        check_cell(Curved, only="finite_differences")
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", before)


def test_laws_look_at_the_same_whatever_the_policy_is():
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    assert set(statuses(check_cell(Memory, only=[*QUICK, "mask"])).values()) == {"passed"}


def test_expectations_are_computed_once_and_not_changed():
    target = Target(Leaky)
    subject = Subject(target, target.cases[0])
    inputs = keras.tree.map_structure(np.copy, subject.inputs)
    expected = keras.tree.map_structure(np.copy, subject.expected)
    for law in laws():
        if law.name in ("mask", "chunking", "causality", "finite_differences"):
            law.check(subject)
    same(subject.inputs, inputs, "inputs", 0.0)
    same(subject.expected.outputs, expected.outputs, "outputs", 0.0)


# -- Gradients


class Remembers(keras.layers.Layer):
    """Multiplies, and counts its calls in a variable."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(2,), initializer="ones", name="factor")
        self.unused = self.add_weight(shape=(3,), name="unused")
        self.calls_ = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, inputs, index):
        self.calls_.assign_add(1.0)
        return inputs * self.factor * ops.cast(index, inputs.dtype)


def test_differentiated_remembers_and_gives_zeros():
    layer = Remembers()
    layer.build((None, 2))
    differentiate = Differentiated(layer, lambda leaves: [layer(*leaves), leaves[1]])
    x, index = np.float32([[1.0, 2.0]]), np.int32([[3, 3]])
    for calls in (1, 2):
        results, gradients = differentiate([x, index], [np.float32([[1.0, 10.0]]), index])
        assert float(layer.calls_) == calls
    assert [result.tolist() for result in results] == [[[3.0, 6.0]], [[3, 3]]]
    factor, unused, inputs = gradients
    assert factor.tolist() == [3.0, 60.0]
    assert unused.tolist() == [0.0, 0.0, 0.0]
    assert inputs.tolist() == [[3.0, 30.0]]


@pytest.mark.parametrize("law", ["paths", "finite_differences"])
def test_the_backward_pass_that_fit_runs_is_looked_at(backend, law, monkeypatch):
    """On TensorFlow a loop has one of its own in a graph, which nothing eager ever runs."""
    if backend != "tensorflow":
        pytest.skip("about TensorFlow")
    from kcells.engine.backends.tensorflow_own_loop import OwnLoop

    backward = OwnLoop._backward
    monkeypatch.setattr(
        OwnLoop, "_backward", lambda *given: [1.01 * found for found in backward(*given)]
    )
    with pytest.raises(
        ConformanceError, match=f"^{law} FAILED: Curved, backend tensorflow\n.*grad"
    ):
        check_cell(Curved, only=law)


# -- Comparing numbers


def leaves():
    numbers = st.floats(-1e3, 1e3, allow_nan=False, width=32)
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)
    return shapes.flatmap(lambda shape: arrays.arrays("float64", shape, elements=numbers))


def structures():
    return st.one_of(
        leaves(), st.lists(leaves(), min_size=1, max_size=3), st.dictionaries(
            st.sampled_from("abc"), leaves(), min_size=1
        )
    )  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(structures())
def test_the_same_is_the_same(structure):
    same(structure, keras.tree.map_structure(np.copy, structure), "leaf", 0.0)


@settings(deadline=None, max_examples=200)
@given(structures(), st.data(), st.sampled_from([0.0, FORWARD, 1e-2]))
def test_one_entry_that_is_off_is_seen(structure, data, tolerance):
    changed = keras.tree.map_structure(np.copy, structure)
    flat = keras.tree.flatten(changed)
    position = data.draw(st.integers(0, len(flat) - 1))
    leaf = flat[position]
    index = data.draw(st.tuples(*(st.integers(0, side - 1) for side in leaf.shape)))
    scale = max(np.abs(leaf).max(), 1e-3)
    leaf[index] += scale * max(2 * tolerance, 1e-9)
    with pytest.raises(ViolationError) as error:
        same(changed, structure, "leaf", tolerance)
    assert error.value.leaf.startswith("leaf")
    assert error.value.difference > tolerance == error.value.allowed


@settings(deadline=None, max_examples=100)
@given(leaves(), st.data())
def test_a_change_below_the_tolerance_is_none(leaf, data):
    index = data.draw(st.tuples(*(st.integers(0, side - 1) for side in leaf.shape)))
    changed = leaf.copy()
    changed[index] += 0.5 * FORWARD * max(np.abs(leaf).max(), 1e-3)
    same(changed, leaf, "leaf", FORWARD)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_the_same(number):
    with pytest.raises(ViolationError, match="differs"):
        same([np.array([1.0, number])], [np.array([1.0, 2.0])], "leaf")


def test_ints_and_bools_are_the_same_or_not():
    same([np.array([1, 2])], [np.array([1, 2])], "leaf")
    for changed in (np.array([1, 3]), np.array([True, False])):
        with pytest.raises(ViolationError):
            same([changed], [np.array([2, 3])], "leaf")


def test_the_worst_leaf_is_named():
    expected = {"a": np.ones(3), "b": np.ones(3)}
    with pytest.raises(ViolationError) as error:
        same({"a": np.ones(3) + 0.1, "b": np.ones(3) + 0.2}, expected, "states", what="today")
    assert str(error.value) == 'states["b"] differs today'
    assert error.value.difference == pytest.approx(0.2)


@pytest.mark.parametrize("other", [np.ones(4), [np.ones(3)], {"a": np.ones(3)}])
def test_another_shape_or_structure_is_described(other):
    with pytest.raises(ViolationError, match="outputs: another structure or shape in a loop"):
        same(other, np.ones(3), "outputs", what="in a loop")
