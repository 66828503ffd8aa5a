"""`build` and `cell`: who gets which argument, what makes a stack, and what the errors say."""

import keras
import numpy as np
import pytest

import kcells
from kcells.errors import (
    AmbiguousCellError,
    ArgumentError,
    CellError,
    ConfigurationError,
    KCellsError,
    PluginLoadError,
    UnknownCellError,
)
from tests.fake_dists import temporary_site

LAYER_OPTIONS = {
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
    "zero_output_for_mask": True,
}


@pytest.fixture
def site(tmp_path):
    with temporary_site(tmp_path / "site") as made:
        yield made


class PlainCell:
    """A cell that is no layer, and knows nothing of dtypes and names."""

    def __init__(self, units, scale=1.0):
        self.units = self.state_size = self.output_size = units
        self.scale = scale

    def call(self, inputs, states):
        state = states[0] + self.scale * inputs[..., : self.units]
        return state, [state]


class OwnGRUCell(keras.layers.GRUCell):
    """Adds an argument, and hands the others on."""

    def __init__(self, units, own=1, **kwargs):
        super().__init__(units, **kwargs)
        self.own = own


class ClosedGRUCell(keras.layers.GRUCell):
    """Takes one argument only."""

    def __init__(self, units):
        super().__init__(units)


class PoppingGRUCell(keras.layers.GRUCell):
    """Has an argument that its signature does not show, as many cells of Keras 2 days do."""

    def __init__(self, units, **kwargs):
        self.hidden = kwargs.pop("hidden", 0)
        super().__init__(units, **kwargs)


class OpenCell(PlainCell):
    """Takes whatever it is given."""

    def __init__(self, **kwargs):
        super().__init__(kwargs.pop("units", 4))
        self.options = kwargs


# -- Who gets which argument


@pytest.mark.parametrize(("option", "value"), LAYER_OPTIONS.items())
def test_layer_options_go_to_the_layer(option, value):
    layer = kcells.build("gru", 4, **{option: value})
    assert getattr(layer, option) is value
    assert getattr(kcells.build("gru", 4), option) is False


def test_name_goes_to_the_layer():
    layer = kcells.build("gru", 4, name="encoder")
    assert layer.name == "encoder"
    assert layer.cell.name != "encoder"


def test_trainable_goes_to_the_layer():
    layer = kcells.build("gru", 4, trainable=False)
    layer.build((None, 5, 3))
    assert layer.trainable is False
    assert layer.trainable_variables == []


def test_the_rest_goes_to_the_cell():
    layer = kcells.build(
        "lstm", 4, use_bias=False, recurrent_dropout=0.5, kernel_initializer="ones"
    )
    assert layer.cell.units == 4
    assert layer.cell.use_bias is False
    assert layer.cell.recurrent_dropout == 0.5
    assert isinstance(layer.cell.kernel_initializer, keras.initializers.Ones)


def test_units_may_be_a_keyword():
    assert kcells.build("gru", units=4).cell.units == 4


def test_positional_arguments_go_to_the_cell():
    assert kcells.build(PlainCell, 4, 0.5).cell.scale == 0.5


def test_arguments_of_both_kinds_with_structures(rng):
    layer = kcells.build("simple_rnn", 3, activation="linear", return_sequences=True, name="both")
    assert layer(rng.normal(size=(2, 5, 4)).astype("float32")).shape == (2, 5, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16"])
def test_dtype_goes_to_both(dtype):
    layer = kcells.build("gru", 4, dtype=dtype)
    assert layer.dtype_policy.name == layer.cell.dtype_policy.name == dtype
    assert layer.compute_dtype == layer.cell.compute_dtype


def test_dtype_goes_to_every_cell_of_a_stack_and_to_the_stack():
    layer = kcells.build(["gru", "lstm"], 4, dtype="mixed_bfloat16")
    names = [part.dtype_policy.name for part in (layer, layer.cell, *layer.cell.cells)]
    assert names == ["mixed_bfloat16"] * 4


def test_dtype_leaves_a_cell_alone_that_is_made():
    layer = kcells.build(keras.layers.GRUCell(4), dtype="float16")
    assert layer.dtype_policy.name == "float16"
    assert layer.cell.dtype_policy.name == "float32"


@pytest.mark.parametrize("cls", [PlainCell, ClosedGRUCell])
def test_dtype_is_for_the_layer_alone_where_the_cell_takes_none(cls):
    layer = kcells.build(cls, 4, dtype="float16")
    assert layer.dtype_policy.name == "float16"
    assert layer.cell.units == 4


def test_the_first_parameter_is_no_keyword():
    # It is called `name` in the signature, and so is an option of the layer.
    assert kcells.cell("gru", 4, name="step").name == "step"


# -- What can be built


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lstm", keras.layers.LSTMCell),
        ("gru", keras.layers.GRUCell),
        ("simple_rnn", keras.layers.SimpleRNNCell),
        ("kcells:gru", keras.layers.GRUCell),
        (keras.layers.GRUCell, keras.layers.GRUCell),
        (PlainCell, PlainCell),
        (OwnGRUCell, OwnGRUCell),
    ],
)
def test_ids_and_classes(name, kind):
    layer = kcells.build(name, 4, dispatch="never")
    assert type(layer) is kcells.RNN
    assert isinstance(layer, keras.layers.RNN)
    assert type(layer.cell) is kind
    assert type(kcells.cell(name, 4)) is kind
    assert layer.compute_output_shape((2, 3, 5)) == (2, 4)


@pytest.mark.parametrize("made", [keras.layers.LSTMCell(4), PlainCell(4)])
def test_instances_are_taken_as_they_are(made):
    assert kcells.cell(made) is made
    assert kcells.build(made, return_sequences=True).cell is made


def test_plugins_by_id_and_by_qualified_id(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    by_id = kcells.build("foo", 4, leak=0.25, return_sequences=True)
    assert (by_id.cell.leak, by_id.return_sequences) == (0.25, True)
    assert type(kcells.build("kcells-plugin-foo:foo", 4).cell) is type(by_id.cell)
    assert by_id(np.ones((2, 3, 5), "float32")).shape == (2, 3, 4)


def test_a_list_makes_a_stack(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    members = ["gru", keras.layers.LSTMCell, keras.layers.LSTMCell(7), "kcells-plugin-foo:foo"]
    layer = kcells.build(members, 4, return_sequences=True)
    assert type(layer.cell) is kcells.StackedCells
    assert isinstance(layer.cell, keras.layers.StackedRNNCells)
    assert [type(cell).__name__ for cell in layer.cell.cells] == [
        "GRUCell",
        "LSTMCell",
        "LSTMCell",
        "FooCell",
    ]
    assert [cell.units for cell in layer.cell.cells] == [4, 4, 7, 4]
    assert layer.cell.cells[2] is members[2]
    assert layer.compute_output_shape((2, 3, 5)) == (2, 3, 4)


def test_a_tuple_is_a_stack_too():
    assert [type(c).__name__ for c in kcells.cell(("gru", "lstm"), 4).cells] == [
        "GRUCell",
        "LSTMCell",
    ]


def test_a_stack_of_one_and_a_stack_of_stacks():
    assert len(kcells.cell(["gru"], 4).cells) == 1
    inner = kcells.cell(["gru", ["lstm", "gru"]], 4).cells[1]
    assert isinstance(inner, kcells.StackedCells)
    assert [cell.units for cell in inner.cells] == [4, 4]


def test_members_of_a_stack_are_different_objects():
    first, second = kcells.cell(["gru", "gru"], 4).cells
    assert first is not second


@pytest.mark.parametrize("name", ["gru", keras.layers.GRUCell, keras.layers.GRUCell(4)])
def test_what_is_built_computes_what_the_cell_computes(rng, name):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    arguments = () if isinstance(name, keras.layers.Layer) else (4,)
    ours = kcells.build(name, *arguments, return_sequences=True)
    theirs = keras.layers.RNN(keras.layers.GRUCell(4), return_sequences=True)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(x)), keras.ops.convert_to_numpy(theirs(x)), atol=1e-6
    )


# -- dispatch


def test_dispatch_is_no_argument_of_the_cell():
    assert kcells.build(OpenCell, dispatch="never", units=3, other=1).cell.options == {"other": 1}


@pytest.mark.parametrize("dispatch", ["", "always", None, True])
def test_unknown_dispatch(dispatch):
    with pytest.raises(ArgumentError) as caught:
        kcells.build("gru", 4, dispatch=dispatch)
    assert str(caught.value) == (
        f'dispatch must be "auto", "never" or "require"; received {dispatch!r}.'
    )


def test_require_of_a_name_that_is_unknown():
    with pytest.raises(UnknownCellError):
        kcells.build("no_such_cell", 4, dispatch="require")


# -- Arguments that nobody takes


def refused(name, *args, **kwargs) -> str:
    with pytest.raises(ArgumentError) as caught:
        kcells.build(name, *args, **kwargs)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, KCellsError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("retrun_sequences", "return_sequences"),
        ("return_state_", "return_state"),
        ("unrol", "unroll"),
        ("recurent_dropout", "recurrent_dropout"),
        ("unit", "units"),
        ("kernel_initialiser", "kernel_initializer"),
    ],
)
def test_the_nearest_argument_is_suggested(wrong, right):
    lines = refused("gru", 4, **{wrong: 1}).splitlines()
    assert lines[0] == f'neither the layer nor the cell GRUCell takes an argument "{wrong}".'
    assert lines[1] == f'  Nearest: "{right}".'


def test_all_arguments_are_listed():
    layer_takes = "activity_regularizer, autocast, checkpoint, compile, dispatch, dtype,"
    layer_takes += (
        " go_backwards, input_shape, name, parallel, return_all_states, return_sequences,"
        " return_state, stateful, tbptt, train_initial_state,"
    )
    more = "trainable, unroll, zero_output_for_mask"
    assert refused(PlainCell, 4, zebra=1) == (
        'neither the layer nor the cell PlainCell takes an argument "zebra".\n'
        "  The cell takes: scale, units.\n"
        f"  The layer takes: {layer_takes} {more}."
    )


def test_arguments_are_handed_on_along_the_classes():
    cell = kcells.cell(OwnGRUCell, 4, own=2, reset_after=False, name="x_cell")
    assert (cell.own, cell.reset_after) == (2, False)
    text = refused(OwnGRUCell, 4, owm=2)
    assert 'Nearest: "own"' in text
    assert "own, recurrent_activation" in text
    assert "reset_after" in text


def test_a_constructor_that_hands_nothing_on_ends_the_list():
    text = refused(ClosedGRUCell, 4, reset_after=False)
    assert "  The cell takes: units.\n" in text


def test_a_cell_that_takes_anything_gets_anything():
    assert kcells.build(OpenCell, retrun_sequences=3).cell.options == {"retrun_sequences": 3}


def test_an_argument_that_the_signature_does_not_show():
    assert kcells.cell(PoppingGRUCell, 4, hidden=3).hidden == 3
    assert 'the cell PoppingGRUCell takes an argument "hiden"' in refused(
        PoppingGRUCell, 4, hiden=3
    )


def test_plugins_are_checked_too(site):
    site.plugin("kcells-plugin-foo", {"foo": "FooCell"})
    text = refused("foo", 4, leek=0.1)
    assert "the cell FooCell takes" in text
    assert 'Nearest: "leak"' in text


def test_one_member_of_a_stack_that_takes_it_not():
    assert "the cell LSTMCell takes an argument" in refused(["gru", "lstm"], 4, reset_after=False)


@pytest.mark.parametrize("what", [keras.layers.GRUCell(3), PlainCell(3)])
def test_a_cell_that_is_made_takes_nothing(what):
    assert refused(what, 8, units=4, kind="x") == (
        f"{type(what).__name__} is made already; it cannot take 8, units=4, kind='x'.\n"
        "  Pass the class or the id instead of the object, or leave the arguments out."
    )


@pytest.mark.parametrize("arguments", [((8,), {}), ((), {"retrun_sequences": True})])
def test_a_stack_that_is_made_takes_nothing(arguments):
    args, kwargs = arguments
    assert "is made already" in refused([keras.layers.GRUCell(3), PlainCell(3)], *args, **kwargs)


def test_a_typo_beside_a_cell_that_is_made_is_recognized():
    text = refused(keras.layers.GRUCell(3), retrun_sequences=True)
    assert 'The layer takes "return_sequences".' in text


def test_options_of_the_layer_are_none_of_a_bare_cell():
    with pytest.raises(ArgumentError) as caught:
        kcells.cell("gru", 4, return_sequences=True)
    text = str(caught.value)
    assert '"return_sequences"' in text
    # It is the layer that takes it, so the message must not say that the layer does not.
    assert "is an argument of the layer" in text
    assert "kcells.build(..., return_sequences=...)" in text


def test_a_missing_argument_is_pythons_own_error():
    with pytest.raises(TypeError, match="units"):
        kcells.build("gru")


# -- What is no cell


@pytest.mark.parametrize("what", [3, None, object(), "gru".upper, {"gru": 4}])
def test_objects_that_are_no_cells(what):
    with pytest.raises(CellError, match=r"is no recurrent cell: it has no method call\(inputs"):
        kcells.build(what)


@pytest.mark.parametrize("cls", [dict, int, keras.Variable])
def test_classes_that_are_no_cells(cls):
    with pytest.raises(CellError) as caught:
        kcells.build(cls)
    assert str(caught.value) == (
        f"{cls.__name__} is no cell class: it has no method call(inputs, states)."
    )
    assert isinstance(caught.value, ValueError)


def test_layers_without_a_state():
    for what, args in ((keras.layers.Dense, (4,)), (keras.layers.Dense(4), ())):
        with pytest.raises(CellError, match="Dense has no state_size"):
            kcells.build(what, *args)


def test_layers_that_run_over_time_are_no_cells():
    for what, args in ((keras.layers.GRU, (4,)), (keras.layers.GRU(4), ())):
        with pytest.raises(CellError, match="GRU"):
            kcells.build(what, *args)


@pytest.mark.parametrize("what", [[], ()])
def test_empty_stacks(what):
    with pytest.raises(CellError, match="StackedCells needs a list of at least one cell"):
        kcells.build(what, 4)


# -- What the registry says


def test_errors_of_the_registry_come_through(site):
    site.plugin("kcells-plugin-one", {"twin": "OneCell", "broken": "OneCell"}, source="1 / 0")
    site.plugin("kcells-plugin-two", {"twin": "TwoCell"})
    for name, error in (
        ("no_such_cell", UnknownCellError),
        ("twin", AmbiguousCellError),
        ("broken", PluginLoadError),
    ):
        for ask in (kcells.build, kcells.cell):
            with pytest.raises(error):
                ask(name, 4)
            with pytest.raises(error):
                ask(["gru", name], 4)


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: kcells.build("lstm", 8, **o),
        lambda **o: kcells.build("mlstm", 8, **o),
        lambda **o: kcells.build(["gru", "ln_gru"], 8, **o),
        lambda **o: kcells.RNN(keras.layers.GRUCell(8), **o),
        lambda **o: kcells.Bidirectional(kcells.build("gru", 4), **o),
    ],
)
def test_input_shape_builds_a_sequential_model_at_once(make):
    model = keras.Sequential([make(input_shape=(None, 28)), keras.layers.Dense(10)])
    assert model.built
    assert model.input_shape == (None, None, 28)
    assert model.output_shape == (None, 10)


def test_input_shape_is_one_shape():
    with pytest.raises(ConfigurationError, match="input_shape is the shape of one tensor"):
        kcells.build("nested", 1, 2, 3, input_shape={"a": (None, 2), "b": (None, 3, 4)})
