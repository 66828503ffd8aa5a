"""Sound cells of unusual kinds, which no law may fail; and quiet mistakes, which one must."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from sound_cells import Curved, Leaky

import kcells
from kcells.errors import ArgumentError, CellError, ConfigurationError
from kcells.testing import Case, check_cell, parametrize_with_checks, record, run_checks
from kcells.testing.cases import cases_for
from kcells.testing.numbers import same

EVERYWHERE = ["loop", "mask", "chunking", "gradients", "finite_differences", "state_size"]


class Sum(kcells.Cell):
    """A sum, of which the others below are kinds.

    h_t = h_{t-1} + x_t
    """

    state_size = 3

    def call(self, inputs, states):
        h = states[0] + inputs
        return h, [h]


# -- Sound


class Timed(Sum):
    """Looks at how much time has passed, by stamps that are large."""

    state_size = (3, 1)

    @classmethod
    def check_cases(cls):
        return [Case({}, {"x": (3,), "time": (1,)}, sample=cls.sample)]

    @staticmethod
    def sample(rng, batch, time):
        stamps = 1e6 + np.cumsum(rng.uniform(0.5, 1.5, (batch, time, 1)), axis=1)
        x = rng.normal(size=(batch, time, 3))
        return {"x": x.astype("float32"), "time": stamps.astype("float32")}

    def call(self, inputs, states):
        h, before = states
        passed = inputs["time"] - before
        h = h * ops.exp(-ops.minimum(passed, 3.0)) + inputs["x"]
        return h, [h, inputs["time"]]


class Clocked(Sum):
    """Counts its steps in a float, and acts at every second one."""

    state_size = (3, 1)

    def call(self, inputs, states):
        h, count = states
        even = ops.equal(ops.floor(count + 0.5) % 2, 0)
        h = ops.where(even, h + inputs, h)
        return h, [h, count + 1]


class Clipped(Sum):
    """A state that is at the edge of a clip when it is handed on."""

    def call(self, inputs, states):
        h = ops.clip(ops.clip(states[0], -1.0, 1.0) * 0.9 + 4.0 * inputs, -1.0, 1.0)
        return h, [h]


class Positive(Sum):
    """A weight that has to stay positive, and two of one name."""

    def build(self, input_shape):
        options = {"constraint": "non_neg", "initializer": keras.initializers.Constant(0.01)}
        self.scale = self.add_weight(shape=(3,), name="w", **options)
        self.other = self.add_weight(shape=(3, 3), name="w")

    def call(self, inputs, states):
        h = states[0] * ops.sqrt(self.scale + 1e-3) + ops.matmul(inputs, self.other)
        return h, [h]


@pytest.mark.parametrize("cell", [Timed, Clocked, Clipped, Positive], ids=lambda c: c.__name__)
def test_no_law_fails_a_sound_cell(cell):
    check_cell(cell, only=[*EVERYWHERE, "side_effects"])


def test_infinities_that_agree():
    same([np.array([-np.inf, 1.0])], [np.array([-np.inf, 1.0])], "states")


def test_equations_alone_in_a_docstring():
    class Bare(Leaky):
        """A leaky sum, Jaeger 2007, of `units` numbers with `dropout` and `seed`.

        h_t = decay * h_{t-1} + x_t kernel + bias
        """

    class Latex(Leaky):
        """A leaky sum, Jaeger 2007, of `units` numbers with `dropout` and `seed`.

        h_t &= decay h_{t-1}
        """

    for cell in (Bare, Latex):
        check_cell(cell, only="docstring")


def test_a_cell_that_needs_constants_is_left_alone():
    class Attending(Sum):
        def call(self, inputs, states, constants):
            return super().call(inputs + constants, states)

    (result,) = run_checks(Attending, only="loop")
    assert (result.status, "needs constants" in result.reason) == ("skipped", True)


# -- Not sound


def test_a_docstring_that_only_looks_like_one():
    class Doing(Leaky):
        """A recurrent cell, doing what it should with units, dropout and seed.

        Examples:

            layer = kcells.RNN(cell)
        """

    (result,) = run_checks(Doing, only="docstring")
    assert "no equation" in result.reason

    class Sourceless(Leaky):
        """A cell, doing what it should with units, dropout and seed.

        h_t = decay * h_{t-1}
        """

    (result,) = run_checks(Sourceless, only="docstring")
    assert "no source" in result.reason


def test_a_state_that_changes_its_dtype():
    class Rounding(Sum):
        def call(self, inputs, states):
            h, [after] = super().call(inputs, states)
            return h, [ops.cast(after, "int32")]

    (result,) = run_checks(Rounding, only="state_size")
    assert result.reason.endswith("the dtype is float32 at the start, and int32 after a step")
    assert result.leaf == "states[0]"


def test_a_leak_in_training_alone():
    class Centered(Curved):
        def call(self, inputs, states, training=False):
            if training:
                inputs = inputs - ops.mean(inputs, axis=0)
            return super().call(inputs, states)

    (result,) = run_checks(Centered, only="batch")
    assert "in training" in result.reason


def test_dropout_that_the_case_switches_on():
    class Deaf(Curved):
        def project_inputs(self, inputs, training=False):
            return super().project_inputs(inputs, training=False)

    (result,) = run_checks(Deaf, arguments={"units": 4, "dropout": 0.5}, only="dropout")
    assert result.reason == "dropout=0.5 changes nothing in training"


def test_a_list_that_the_configuration_replaces():
    class Listed(Leaky):
        def __init__(self, units, sizes=(1,), **kwargs):
            super().__init__(units, **kwargs)
            self.sizes = sizes

        def get_config(self):
            return {**super().get_config(), "sizes": [1]}

    (result,) = run_checks(Listed, arguments={"units": 2, "sizes": [2]}, only="config")
    assert result.reason == "sizes=[2] was given, and is [1] in the config"


# -- What is around the laws


def test_the_kit_is_an_attribute():
    assert kcells.testing.check_cell is check_cell
    with pytest.raises(AttributeError, match="no attribute 'tasting'"):
        kcells.tasting  # noqa: B018


def test_weights_of_an_object_are_its_owners():
    class Plain:
        state_size = 3

        def __init__(self):
            self.scale = keras.Variable(np.ones(3, "float32"))
            self.weights = self.trainable_weights = [self.scale]

        def call(self, inputs, states):
            h = states[0] * self.scale + inputs
            return h, [h]

    cell = Plain()
    check_cell(cell, only=["loop", "mask"])
    assert (ops.convert_to_numpy(cell.scale) == 1).all()


class SometimesCentered(Curved):
    def __init__(self, units=4, centers=False, **kwargs):
        super().__init__(units, **kwargs)
        self.centers = centers

    def call(self, inputs, states, training=False):
        if self.centers:
            inputs = inputs - ops.mean(inputs, axis=0)
        return super().call(inputs, states)

    @classmethod
    def check_cases(cls):
        return [Case(), Case({"centers": True}, name="centers")]


def test_a_failure_may_be_expected_in_one_case():
    expected = {"batch[centers]": "the paper does"}
    report = check_cell(SometimesCentered, only="batch", expected_failures=expected)
    assert [result.status for result in report.results] == ["passed", "failed as expected"]
    mark = parametrize_with_checks([SometimesCentered], {SometimesCentered: expected}).mark
    checks = [parameter.values[0] for parameter in mark.args[1]]
    batch = [check.expected for check in checks if check.law.name == "batch"]
    assert batch == [None, "the paper does"]


def test_names_of_cases_hold_no_addresses():
    class Free(Leaky):
        @classmethod
        def check_cases(cls):
            makers = (keras.initializers.Zeros(), keras.initializers.Ones())
            return [Case({"units": 2, "first": maker}) for maker in (*makers, makers[0])]

    names = [case.name for case in cases_for(Free, None, None)]
    assert names == ["units=2,first=Zeros 0", "units=2,first=Ones", "units=2,first=Zeros 2"]


def test_a_cell_that_is_made_gets_the_inputs_of_its_class():
    check_cell(Timed(), only="loop")


@pytest.mark.parametrize(
    ("error", "message", "cell", "options"),
    [
        (ArgumentError, 'argument "unit"', "gru", {"arguments": {"unit": 4}}),
        (CellError, "no cell class", dict, {}),
        (ConfigurationError, "seed must be", "gru", {"seed": -1}),
        (ConfigurationError, "only= takes", "gru", {"only": 5}),
        (ConfigurationError, "maps the name", "gru", {"expected_failures": ["mask"]}),
        (ConfigurationError, "without a reason", "gru", {"expected_failures": {"mask": 5}}),
    ],
    ids=lambda value: "",
)
def test_a_wrong_question(error, message, cell, options):
    with pytest.raises(error, match=message):
        check_cell(cell, **options)


@pytest.mark.parametrize("cells", ["gru", Leaky])
def test_cells_come_in_a_list(cells):
    with pytest.raises(ConfigurationError, match="a list of cells"):
        parametrize_with_checks(cells)


def test_a_file_is_found_under_the_name_that_it_was_given(tmp_path):
    record(Leaky, tmp_path / "here")
    assert check_cell(Leaky, only="backends", recorded=str(tmp_path / "here")).results
