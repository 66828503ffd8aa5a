"""`checkpoint`, `tbptt`, `parallel`, `compile`: what they take, and configurations."""

import keras
import pytest

import kcells
from kcells.errors import ArgumentError

COUNTS = "checkpoint must be a bool or a positive int, the number of steps in a block; received {}."
STEPS = (
    "tbptt must be a positive int, the number of steps that a gradient goes back, or None;"
    " received {}."
)
CHOICE = '{} must be "auto" or "never"; received {}.'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"checkpoint": c}, COUNTS.format(repr(c))) for c in (0, -1, "yes", None, 2.0)),
        *(({"tbptt": t}, STEPS.format(repr(t))) for t in (0, -3, True, 2.5, "all")),
        *(
            ({name: c}, CHOICE.format(name, repr(c)))
            for name, c in (("parallel", "always"), ("parallel", True))
        ),
        ({"compile": "x"}, 'compile must be "auto", "always" or "never"; received \'x\'.'),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["lstm", "ln_gru"])
def test_what_is_no_policy(name, options, message):
    for make in (
        lambda: kcells.RNN(keras.layers.GRUCell(2), **options),
        lambda: kcells.build(name, 2, **options),
    ):
        with pytest.raises(ArgumentError) as caught:
            make()
        assert str(caught.value) == message


@pytest.mark.parametrize("checkpoint", [True, 3])
@pytest.mark.parametrize("name", ["lstm", "min_gru"])
def test_checkpoints_of_what_is_written_out(name, checkpoint):
    with pytest.raises(ArgumentError, match="and unroll=True writes out short ones") as caught:
        kcells.build(name, 2, checkpoint=checkpoint, unroll=True)
    assert "Leave one of them out." in str(caught.value)
    assert kcells.build(name, 2, checkpoint=False, unroll=True).unroll


GIVEN = [
    {"checkpoint": True},
    {"checkpoint": 4},
    {"tbptt": 3},
    {"parallel": "never"},
    {"compile": "never"},
    {"compile": "always"},
    {"checkpoint": 1, "tbptt": 1, "parallel": "never", "compile": "never"},
]
NAMES = {"checkpoint", "tbptt", "parallel", "compile"}


@pytest.mark.parametrize("given", GIVEN, ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "min_gru", "ln_gru", ["gru", "lstm"]], ids=str)
def test_round_trip(tmp_path, name, given):
    layer = kcells.build(name, 2, **given)
    config = layer.get_config()
    assert {k: v for k, v in config.items() if k in NAMES} == given
    assert all(type(config[k]) is type(v) for k, v in given.items())
    copies = [
        type(layer).from_config(config),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)),
    ]
    model = keras.Sequential([keras.Input((5, 3)), layer])
    copies.append(keras.models.clone_model(model).layers[0])
    copies.append(kcells.Bidirectional(layer).backward_layer)
    model.save(tmp_path / "model.keras")
    copies.append(kcells.load_model(tmp_path / "model.keras").layers[0])
    for copy in copies:
        assert {k: getattr(copy, k) for k in given} == given
        assert {k: v for k, v in copy.get_config().items() if k in NAMES} == given


@pytest.mark.parametrize("name", ["lstm", "gru", "min_gru"])
def test_defaults_are_not_written(name):
    given = {"checkpoint": False, "tbptt": None, "parallel": "auto", "compile": "auto"}
    assert not NAMES & set(kcells.build(name, 2, **given).get_config())
    assert not NAMES & set(kcells.RNN(kcells.cell(name, 2)).get_config())
