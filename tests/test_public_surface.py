"""What `import kcells` offers: these names, each with a docstring and an example."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import types
from typing import Any

import keras
import pytest

import kcells
from kcells import cells, errors, structure
from kcells import types as kcells_types
from kcells.engine.options import Options

# The options that Keras' layer does not have.
OURS = {field.name for field in dataclasses.fields(Options)} - set(
    inspect.signature(keras.layers.RNN).parameters
)

# What users may rely on. A name leaves only with a deprecation, and joins only with docs.
PUBLIC = {
    "Bidirectional",
    "Card",
    "Case",
    "Cell",
    "CellInfo",
    "Equivalence",
    "Explanation",
    "Explanations",
    "Generated",
    "InputCell",
    "Learning",
    "LinearRecurrence",
    "Place",
    "RNN",
    "Reason",
    "StackedCells",
    "StandardCell",
    "StreamingModel",
    "VariationalDropout",
    "WeightsCell",
    "Workload",
    "Wrapper",
    "__version__",
    "build",
    "cell",
    "decoding",
    "describe",
    "errors",
    "explain",
    "generate",
    "list_cells",
    "load_model",
    "register",
    "to_builtin",
    "to_streaming",
    "unregister",
}
OBJECTS = sorted(PUBLIC - {"__version__"})
CALLABLES = sorted(PUBLIC - {"__version__", "decoding", "errors"})
ERRORS = sorted(errors.__all__)


def public_methods(cls: type[Any]) -> list[str]:
    """Methods and properties that `cls` itself defines and that are no hook of Keras."""
    hooks = {"call", "build", "get_config", "compute_output_shape"}
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and name not in hooks
        and isinstance(value, (types.FunctionType, property, classmethod, staticmethod))
    ]


def test_all_is_what_it_is_said_to_be():
    assert set(kcells.__all__) == PUBLIC
    assert len(kcells.__all__) == len(PUBLIC)


# What authors of cells may rely on: for cells of cells, and to say what a tensor is.
FOR_AUTHORS = {
    cells: {"BoundCell", "built_outputs", "infer_step", "marked", "positive", "sizes_are_made_up"},
    kcells_types: {"CellLike", "Step", "Structure", "Tensor"},
    structure: {
        *("Size", "agree", "child", "conform", "known_shape", "leaves_with_paths"),
        *("map_leaves", "outline", "plain", "same_shape", "shape_leaves", "size_structure"),
    },
}


@pytest.mark.parametrize("module", FOR_AUTHORS, ids=lambda module: module.__name__)
def test_what_authors_may_import(module):
    assert set(module.__all__) == FOR_AUTHORS[module]
    for name in FOR_AUTHORS[module]:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
        if inspect.isclass(value):
            assert [m for m in public_methods(value) if not inspect.getdoc(getattr(value, m))] == []


def test_nothing_else_is_visible():
    visible = {
        name
        for name, value in vars(kcells).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert visible == PUBLIC - {"__version__", "decoding", "errors"}


def test_names_are_what_they_say():
    assert isinstance(kcells.__version__, str)
    assert kcells.errors is errors
    assert issubclass(kcells.RNN, keras.layers.RNN)
    assert issubclass(kcells.Bidirectional, keras.layers.Bidirectional)
    assert issubclass(kcells.StackedCells, keras.layers.StackedRNNCells)
    assert issubclass(kcells.Cell, keras.layers.Layer)


@pytest.mark.parametrize("name", OBJECTS)
def test_has_a_docstring(name):
    assert inspect.getdoc(getattr(kcells, name))


@pytest.mark.parametrize("name", CALLABLES)
def test_has_an_example(name):
    # Its own, not that of the class that it derives from.
    assert ">>> " in (getattr(kcells, name).__doc__ or "")


@pytest.mark.parametrize("name", [n for n in CALLABLES if inspect.isclass(getattr(kcells, n))])
def test_methods_have_docstrings(name):
    cls = getattr(kcells, name)
    without = [
        method
        for method in public_methods(cls)
        if not inspect.getdoc(inspect.getattr_static(cls, method))
    ]
    assert without == []


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("build", "(name, /, *args, dispatch='auto', **kwargs)"),
        ("cell", "(name, /, *args, **kwargs)"),
        ("describe", "(name)"),
        ("explain", "(layer_or_model, inputs=None)"),
        (
            "generate",
            "(step, initial_state, start, max_length, end=None, choose='greedy', constants=None,"
            " feed=None)",
        ),
        ("list_cells", "()"),
        ("load_model", "(path, **kwargs)"),
        ("register", "(name, cls=None)"),
        ("to_builtin", "(layer_or_model)"),
        ("to_streaming", "(layer_or_model, stepwise=())"),
        ("unregister", "(name)"),
    ],
)
def test_signatures(name, signature):
    parameters = inspect.signature(getattr(kcells, name)).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    assert str(inspect.Signature(bare)) == signature


def test_layers_take_what_the_layers_of_keras_take():
    for ours, theirs in (
        (kcells.RNN, keras.layers.RNN),
        (kcells.Bidirectional, keras.layers.Bidirectional),
        (kcells.StackedCells, keras.layers.StackedRNNCells),
    ):
        mine, names = (list(inspect.signature(cls.__init__).parameters) for cls in (ours, theirs))
        assert [name for name in mine if name not in OURS] == names


# -- Errors


def test_every_error_class_is_listed():
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert defined == set(ERRORS)


@pytest.mark.parametrize("name", ERRORS)
def test_error_class(name):
    cls = getattr(errors, name)
    assert issubclass(cls, errors.KCellsError)
    assert cls.__doc__
    assert name in (errors.__doc__ or "")
    if cls is not errors.KCellsError:
        fits = (LookupError, ImportError, ValueError, TypeError)
        assert sum(issubclass(cls, builtin) for builtin in fits) == 1


@pytest.mark.parametrize("name", ERRORS)
def test_error_survives_a_trip_to_another_process(name):
    error = getattr(errors, name)("what went wrong")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error) == "what went wrong"
