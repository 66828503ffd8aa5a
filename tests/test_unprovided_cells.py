"""Saving cells that no plugin provides: who is warned, when, and whether it is true."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest

import kcells
from kcells import testing
from kcells.registry import provenance
from tests.fake_dists import FakeSite, run_python, temporary_site

QUICK = {"recurrent_initializer": "glorot_uniform"}
# A site takes back what is registered in it, and a plugin registers its cells once.
kcells.cell("mgru", 3)


class OwnCell(keras.layers.GRUCell):
    """Registered by nobody."""


@keras.saving.register_keras_serializable()
class CustomCell(keras.layers.GRUCell):
    """Registered under a name that no distribution has."""


@keras.saving.register_keras_serializable(package="kcells")
class BorrowedCell(keras.layers.GRUCell):
    """Registered under the name of kcells, which does not have it."""


@keras.saving.register_keras_serializable(package="kcells-plugin-nowhere")
class NowhereCell(keras.layers.GRUCell):
    """Registered under the name of a plugin that is not installed."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    with temporary_site(tmp_path / "site") as made:
        yield made


def model_of(*layers: Any) -> keras.Model:
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, [layer(inputs) for layer in layers])


def said(function: Any, *arguments: Any, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, **options)
    return [str(w.message) for w in caught if str(w.message).startswith("kcells: ")]


def saved(folder: Path, *layers: Any) -> list[str]:
    return said(model_of(*layers).save, folder / "model.keras")


@pytest.mark.parametrize(
    ("cls", "remedy"),
    [
        (OwnCell, 'load_model(path, custom_objects={"OwnCell": OwnCell}); or decorate it with'),
        (CustomCell, f'Import {__name__} before, which registers it as "Custom>CustomCell"'),
        (BorrowedCell, 'which registers it as "kcells>BorrowedCell"'),
        (NowhereCell, 'which registers it as "kcells-plugin-nowhere>NowhereCell"'),
    ],
)
def test_the_class_and_what_to_do(tmp_path, cls, remedy):
    (text,) = saved(tmp_path, kcells.RNN(cls(3, **QUICK)))
    assert text.startswith(f"kcells: {cls.__name__} of {__name__} comes from no plugin, so this")
    assert remedy in text
    assert "`kcells new` makes one" in text


def test_a_cell_of_this_session(tmp_path):
    class LocalCell(keras.layers.GRUCell):
        pass

    kcells.register("local", LocalCell)
    try:
        (text,) = saved(tmp_path, kcells.build("local", 3, **QUICK))
    finally:
        kcells.unregister("local")
    assert "LocalCell of" in text
    assert "run its definition before" in text


def test_where_cells_are_inside_of_others(tmp_path):
    own, custom, other = OwnCell(3, **QUICK), CustomCell(3, **QUICK), NowhereCell(3, **QUICK)
    branches = kcells.RNN(kcells.cell("parallel", [other, keras.layers.GRUCell(2, **QUICK)]))
    both = kcells.Bidirectional(kcells.RNN([custom, keras.layers.LSTMCell(2, **QUICK)]))
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, [kcells.RNN([own])(inputs), both(inputs), *branches([inputs] * 2)])
    texts = said(model.save, tmp_path / "model.keras")
    names = ["OwnCell", "CustomCell", "NowhereCell"]
    assert [text.split()[1] for text in texts] == names


def test_once_a_class_and_file(tmp_path):
    layers = [kcells.RNN([OwnCell(3, **QUICK), OwnCell(2, **QUICK)]) for _ in range(3)]
    model = model_of(*layers)
    for _ in range(2):
        assert len(said(model.save, tmp_path / "model.keras")) == 1


def test_it_points_at_the_line_that_saves(tmp_path):
    model = model_of(kcells.RNN(OwnCell(3, **QUICK)))
    with pytest.warns(UserWarning, match="comes from no plugin") as caught:
        model.save(tmp_path / "model.keras")
    assert caught[0].filename == __file__


def test_nothing_is_said_elsewhere(tmp_path, rng):
    """Of all that asks for configurations, a file is what somebody else may read."""
    model = model_of(
        kcells.RNN(OwnCell(3, **QUICK)), kcells.Bidirectional(kcells.RNN(CustomCell(3)))
    )
    model.save(tmp_path / "model.keras")
    custom = {"custom_objects": {"OwnCell": OwnCell}}

    def others() -> None:
        model.get_config()
        model.to_json()
        model.summary(print_fn=lambda *_, **__: None)
        model.save_weights(tmp_path / "model.weights.h5")
        with keras.saving.custom_object_scope(custom["custom_objects"]):
            keras.models.clone_model(model)
        for load in (kcells.load_model, keras.models.load_model):
            load(tmp_path / "model.keras", **custom)
        kcells.explain(model)
        kcells.Bidirectional(kcells.RNN(CustomCell(3)))

    assert said(others) == []
    registered = model_of(kcells.RNN(CustomCell(3, **QUICK)))
    assert said(copy.deepcopy, registered) == []
    assert len(said(pickle.dumps, registered)) == 1


@pytest.mark.once
def test_the_kit_says_nothing():
    assert said(lambda: list(testing.run_checks(CustomCell, only="saving"))) == []


def test_nothing_is_said_of_ours_of_keras_and_of_plugins(site, tmp_path):
    site.plugin("odd-zoo", {"odd": "OddCell"})
    names = ["mgru", "lstm", "gru", "simple_rnn", "odd"]
    layers = [kcells.build(name, 3) for name in names]
    layers += [kcells.RNN([kcells.cell(name, 3) for name in names])]
    layers += [kcells.Bidirectional(kcells.build("mgru", 3)), kcells.RNN(keras.layers.GRUCell(3))]
    assert saved(tmp_path, *layers) == []


def test_a_plugin_that_is_hidden_is_a_plugin(site, monkeypatch):
    site.plugin("odd-zoo", {"odd": "OddCell"})
    cls = type(kcells.cell("odd", 3))
    monkeypatch.setenv("KCELLS_PLUGINS", "")
    assert provenance.is_provided(cls)


@pytest.mark.once
def test_it_is_true(site, tmp_path):
    """In a process that has imported kcells alone, what was warned of does not load."""
    plugin = site.plugin("odd-zoo", {"odd": "OddCell"})
    cells = {
        "own": OwnCell(3),
        "custom": CustomCell(3),
        "borrowed": BorrowedCell(3),
        "odd": kcells.cell("odd", 3),
        "gru": keras.layers.GRUCell(3),
    }
    warned = {}
    for name, cell in cells.items():
        model = model_of(kcells.RNN(cell))
        warned[name] = bool(said(model.save, tmp_path / f"{name}.keras"))
        assert warned[name] != provenance.is_provided(type(cell))
    shown = run_python(
        """
        import json, sys

        import kcells

        loads = {}
        for name in json.loads(sys.argv[1]):
            try:
                kcells.load_model(f"{name}.keras")
                loads[name] = True
            except Exception:
                loads[name] = False
        print(json.dumps(loads))
        """,
        json.dumps(list(cells)),
        cwd=tmp_path,
        path=[site.folder],
        KERAS_BACKEND=keras.backend.backend(),
    )
    loads = json.loads(shown.splitlines()[-1])
    assert loads == {name: not bad for name, bad in warned.items()}
    assert plugin.imports == 2
    assert [name for name in loads if loads[name]] == ["odd", "gru"]
