"""`kcells explain`."""

import json

import keras
import pytest

import kcells

BACKEND = keras.backend.backend()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.keras"
    layers = [kcells.build("lstm", 4, return_sequences=True), kcells.build("gru", 4, unroll=True)]
    keras.Sequential([keras.Input((5, 3)), *layers, keras.layers.Dense(1)]).save(path)
    return path


def test_json(kcells_command, model):
    rows = json.loads(kcells_command("explain", model, "--json").output)
    assert [row["path"] for row in rows] == [
        e.path for e in kcells.explain(kcells.load_model(model))
    ]
    assert rows[1]["path"] == "unrolled"
    assert {row["backend"] for row in rows} == {BACKEND}
    assert {"condition", "holds", "detail"} == set(rows[1]["reasons"][0])


def test_tables(kcells_command, model):
    short = kcells_command("explain", model).output
    assert "(GRUCell): unrolled, kernel unrolled" in short
    assert "the loop is not unrolled" in short
    assert "the cell gets no constants" not in short
    assert "the cell gets no constants" in kcells_command("explain", model, "--all").output
    assert max(map(len, short.splitlines())) <= 80


def test_no_recurrent_layer(kcells_command, tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(tmp_path / "m.keras")
    done = kcells_command("explain", tmp_path / "m.keras")
    assert done.exit_code == 0
    assert "No recurrent layer of kcells is in this model." in done.output


def test_a_missing_plugin(site, kcells_command, tmp_path, monkeypatch):
    site.plugin("odd-zoo", {"foo": "FooCell"})
    model = keras.Sequential([keras.Input((5, 3)), kcells.build("foo", 4)])
    model.save(tmp_path / "m.keras")
    monkeypatch.setenv("KCELLS_PLUGINS", "")
    del keras.saving.get_custom_objects()["odd-zoo>FooCell"]
    done = kcells_command("explain", tmp_path / "m.keras")
    assert done.exit_code == 1
    assert "which KCELLS_PLUGINS hides" in done.output


def test_a_class_that_nobody_knows(kcells_command, tmp_path):
    @keras.saving.register_keras_serializable(package="odd")
    class OddLayer(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    keras.Sequential([keras.Input((3,)), OddLayer()]).save(tmp_path / "m.keras")
    del keras.saving.get_custom_objects()["odd>OddLayer"]
    done = kcells_command("explain", tmp_path / "m.keras")
    assert done.exit_code == 1
    assert "does not load: " in done.output
    assert "kcells inspect" in done.output


def test_no_model(kcells_command, tmp_path):
    (tmp_path / "m.keras").write_text("text")
    done = kcells_command("explain", tmp_path / "m.keras")
    assert (done.exit_code, "it is no zip archive" in done.output) == (2, True)
