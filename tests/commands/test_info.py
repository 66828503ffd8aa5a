"""`kcells info`, and the parts of a docstring."""

import json
import os

import keras
import pytest

import kcells
from kcells.cells.signature import constructor_parameters
from kcells.commands.arguments import parse
from kcells.commands.docstring import documentation_of, read
from tests.fake_dists import run_python

BACKEND = keras.backend.backend()

DOCSTRING = """A sum that forgets,
    in two lines.

    Some text.

        s_t = a * s_{t-1} + x_t

    With a condition,

        a = 1  if leak == 0
          = leak

    Papers: One 1999, "A sum",
    arXiv:0000.0000.

    Args:
        units: the size. Default: 4.
        leak, other_leak: how much is lost; an example:
            `leak: 0.5`.
        **kwargs: passed on.

    Shapes: inputs `(batch, features)`.

    Examples:

    >>> 1 + 1
        2
    """


def test_parts_of_a_docstring():
    found = read(DOCSTRING)
    assert found.summary == "A sum that forgets, in two lines."
    assert found.equations == ("s_t = a * s_{t-1} + x_t\n\na = 1  if leak == 0\n  = leak")
    assert found.paper == 'One 1999, "A sum", arXiv:0000.0000.'
    assert found.arguments == {
        "units": "the size. Default: 4.",
        "leak": "how much is lost; an example: `leak: 0.5`.",
        "other_leak": "how much is lost; an example: `leak: 0.5`.",
        "kwargs": "passed on.",
    }


@pytest.mark.parametrize("text", ["", "\n", "One line.", "Args:\n", "    indented = all"])
def test_a_docstring_of_another_kind(text):
    assert read(text).paper == ""
    assert read(text).arguments == {}


@pytest.mark.parametrize("info", kcells.list_cells(), ids=lambda info: info.id)
def test_every_installed_cell_says_all(info):
    from kcells import registry

    cls = registry.load(info.qualified_id)
    found = documentation_of(cls)
    assert found.summary
    assert "_t = " in found.equations or "_t\n" in found.equations
    assert any(character.isdigit() for character in found.paper)
    missing = {name for name in constructor_parameters(cls) if not found.arguments.get(name)}
    assert not missing


def test_a_docstring_is_not_inherited():
    class Silent(keras.layers.LSTMCell):
        pass

    assert documentation_of(Silent).summary == ""
    assert documentation_of(Silent).equations == ""


def test_what_goes_to_a_base_is_explained_by_it():
    class Inner(kcells.StandardCell):
        """A cell.

        Args:
            units: how many there are.
        """

    found = documentation_of(Inner)
    assert (found.summary, found.equations, found.paper) == ("A cell.", "", "")
    assert found.arguments["units"] == "how many there are."
    assert found.arguments["recurrent_dropout"].startswith("the share of the state")


def test_a_table(kcells_command):
    shown = kcells_command("info", "mlstm", "--units", 8, "--features", 3).output
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0][:2] == ["mlstm", "kcells-plugin-mlstm"]
    assert "  m_t = (W_mx x_t) * (W_mh h_{t-1})" in shown
    assert "arXiv:1609.07959" in shown
    assert ["kernel", "(3,", "40)", "120"] in lines
    assert ["total", "472"] in lines
    assert "none is declared" in shown
    assert f"here, {BACKEND} on" in shown
    assert max(map(len, shown.splitlines())) <= 80


def info(kcells_command, *arguments):
    done = kcells_command("info", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_json(kcells_command):
    data = info(kcells_command, "gru", "--units", 4, "--features", 3)
    assert data["made_with"] == {"units": 4}
    assert data["inputs"] == [3]
    assert sum(row["parameters"] for row in data["weights"]) == 3 * 12 + 4 * 12 + 2 * 12
    assert data["arguments"][0]["name"] == "units"
    assert data["arguments"][0]["required"]
    assert data["equivalence"]["builtin"] == "gru"
    assert data["equivalence"]["holds"]
    assert data["paths"] == ["fused", "loop"]
    assert data["here"]["backend"] == BACKEND


def test_arguments_of_the_cell(kcells_command):
    assert not info(kcells_command, "ln_gru")["equivalence"]["holds"]
    assert info(kcells_command, "ln_gru", "-a", "normalize=false")["equivalence"]["holds"]
    assert "as it is made here" in kcells_command("info", "gru").output


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1.5", 1.5),
        ("a=relu", "relu"),
        ("a=False", False),
        ("a=None", None),
        ("a=[1, 2]", [1, 2]),
        ("a=b=c", "b=c"),
        ("a=", ""),
    ],
)
def test_values_of_arguments(text, value):
    assert parse(text) == ("a", value)


@pytest.mark.parametrize("argument", ["nothing", "=1", "a b=1"])
def test_no_argument(kcells_command, argument):
    done = kcells_command("info", "gru", "-a", argument)
    assert (done.exit_code, "write NAME=VALUE" in done.output) == (2, True)


def test_an_argument_that_the_cell_does_not_take(kcells_command):
    done = kcells_command("info", "gru", "-a", "untis=3")
    assert done.exit_code == 2
    assert "GRUCell cannot be made so" in done.output
    assert "untis" in done.output


def test_errors(site, kcells_command):
    done = kcells_command("info", "mlsmt")
    assert (done.exit_code, "no installed plugin declares" in done.output) == (2, True)
    site.plugin("odd-broken", {"broken": "BrokenCell"}, source="1 / 0")
    done = kcells_command("info", "broken")
    assert (done.exit_code, "ZeroDivisionError" in done.output) == (1, True)
    site.plugin("odd-one", {"foo": "FooCell"})
    site.plugin("odd-two", {"foo": "FooCell"})
    done = kcells_command("info", "foo")
    assert (done.exit_code, '"odd-two:foo"' in done.output) == (2, True)


NOISY = """
import ctypes, os

from keras.layers import LSTMCell as NoisyCell

print("noise of Python", flush=True)
os.system("echo noise of a program")
os.write(1, b"noise of native code\\n")
ctypes.CDLL(None).printf(b"noise that C keeps back\\n")
"""


@pytest.mark.skipif(os.name != "posix", reason="the C library is found in another way")
def test_noise_of_a_plugin_goes_to_standard_error(site, kcells_command, capfd):
    site.plugin("odd-noise", {"noisy": "NoisyCell"}, source=NOISY)
    done = kcells_command("info", "noisy", "--json")
    os.write(1, b"later\n")
    assert json.loads(done.stdout)["id"] == "noisy"
    out, err = capfd.readouterr()
    assert out == "later\n"
    assert err.count("noise") + done.stderr.count("noise") == 4


@pytest.mark.slow
@pytest.mark.once
def test_json_of_a_noisy_plugin(site, tmp_path):
    site.plugin("odd-noise", {"noisy": "NoisyCell"}, source=NOISY)
    code = "import kcells_command; kcells_command.main()"
    arguments = ["info", "noisy", "--json"]
    shown = run_python(code, *arguments, cwd=tmp_path, path=[site.folder])
    assert json.loads(shown)["id"] == "noisy"


# -- Cells that take more than units, and inputs that are a structure

NESTED = """
import keras

import kcells
from kcells.testing import Case


class NestCell(kcells.Cell):
    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.sizes = sizes
        self.state_size = sizes["a"]

    {cases}

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape["x"][-1], self.sizes["a"]), name="kernel")

    def call(self, inputs, states):
        h = keras.ops.matmul(inputs["x"], self.kernel) + keras.ops.sum(inputs["y"])
        return h, [h]
"""

CASES = """
    @classmethod
    def check_cases(cls):
        return [Case({"sizes": {"a": 5}}, {"x": (3,), "y": (2, 2)}, "first")]
"""


def test_the_first_case_says_how_a_cell_is_made(site, kcells_command):
    source = NESTED.replace("    {cases}\n", CASES)
    site.plugin("odd-nest", {"nest": "NestCell"}, source=source)
    data = info(kcells_command, "nest", "--units", 9)
    assert data["made_with"] == {"sizes": {"a": 5}}
    assert data["inputs"] == {"x": [3], "y": [2, 2]}
    assert data["weights"][0]["shape"] == [3, 5]
    assert data["equivalence"]["builtin"] is None
    shown = kcells_command("info", "nest").output
    assert "for a step of {x: (3,), y: (2, 2)}" in shown
    assert "The class has no docstring." in shown


def test_nobody_says_how_a_cell_is_made(site, kcells_command):
    site.plugin("odd-nest", {"nest": "NestCell"}, source=NESTED.replace("    {cases}\n", ""))
    data = info(kcells_command, "nest")
    assert data["obstacle"] == ("NestCell needs sizes, and has no card that says what to take.")
    assert data["weights"] == []
    assert data["here"] is None
    assert "NestCell needs sizes" in kcells_command("info", "nest").output


def test_a_cell_that_does_not_take_the_inputs(site, kcells_command):
    site.plugin("odd-nest", {"nest": "NestCell"}, source=NESTED.replace("    {cases}\n", ""))
    data = info(kcells_command, "nest", "-a", 'sizes={"a": 5}')
    assert data["obstacle"].startswith("it does not take a step of (32,): ")
    assert data["weights"] == []
    assert data["here"]["path"] == "loop"


def test_a_cell_that_takes_other_inputs_says_which(kcells_command):
    data = info(kcells_command, "phased_lstm")
    assert data["obstacle"] == ""
    assert data["inputs"] == {"features": [32], "time": [1]}
    assert data["weights"][0]["name"] == "kernel"
    assert "time: (1,)" in kcells_command("info", "phased_lstm").output


def test_features_and_units_of_a_cell_that_wants_as_many(kcells_command):
    data = info(kcells_command, "intersection_rnn", "--units", 6, "--features", 6)
    assert data["obstacle"] == ""
    assert data["weights"][0]["shape"] == [6, 24]
