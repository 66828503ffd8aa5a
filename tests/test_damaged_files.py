"""Model files that are damaged or forged: `kcells.load_model` says which part of which it is."""

from __future__ import annotations

import copy
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import kcells
from kcells.errors import KCellsError, MissingPluginError, ModelFileError

QUICK = {"recurrent_initializer": "glorot_uniform"}
WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a file in order."""
    inputs = keras.Input((5, 3))
    cells = [kcells.cell("mgru", 3, **QUICK), keras.layers.LSTMCell(2, **QUICK)]
    hidden = kcells.RNN(cells, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(kcells.build("gru", 2, **QUICK)(hidden)))
    path = tmp_path_factory.mktemp("whole") / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., keras.Model]:
    """Loads what is given as bytes, or as members of an archive."""

    def load_file(content: bytes | dict[str, bytes], **options: Any) -> keras.Model:
        path = tmp_path / "model.keras"
        path.write_bytes(content if isinstance(content, bytes) else packed(content))
        return kcells.load_model(path, **options)

    return load_file


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_config(whole: dict[str, bytes], change: Callable[[Any], Any]) -> dict[str, bytes]:
    config = json.loads(whole["config.json"])
    changed = change(config)
    text = json.dumps(config if changed is None else changed)
    return {**whole, "config.json": text.encode()}


def blamed(load: Callable[..., Any], content: Any, part: str) -> str:
    with pytest.raises(ModelFileError) as caught:
        load(content)
    text = str(caught.value)
    assert caught.value.part == part, text
    assert "model.keras cannot be loaded: " in text
    assert "\n" not in text
    assert "opy it again from where it is whole, or save the model again." in text
    assert len(text) < 1000
    return text


# -- The archive


@pytest.mark.parametrize("length", [0, 1, 200, -1, -40])
def test_a_file_that_is_cut_off(whole, load, length):
    data = packed(whole)[:length]
    text = blamed(load, data, "archive")
    assert f"the end of it is missing ({len(data)} bytes are there)" in text


@pytest.mark.parametrize("member", ["config.json", WEIGHTS])
def test_a_byte_that_was_turned(whole, load, member):
    data = bytearray(packed(whole))
    data[data.index(whole[member][100:200]) + 50] ^= 4
    text = blamed(load, bytes(data), "archive")
    assert f"Bad CRC-32 for file '{member}'" in text


def test_a_member_that_is_missing(whole, load):
    members = {name: data for name, data in whole.items() if name != "config.json"}
    assert "there is no config.json in its archive" in blamed(load, members, "archive")
    members = {name: data for name, data in whole.items() if name != WEIGHTS}
    assert "Expected a model.weights.h5" in blamed(load, members, "weights")


def test_a_way_of_packing_that_nobody_knows(whole, load):
    data = bytearray(packed(whole))
    # In the directory at the end: where an entry says how its member is packed.
    data[data.rindex(b"PK\x01\x02") + 10] = 99
    assert "NotImplementedError" in blamed(load, bytes(data), "archive")


def test_damaged_metadata_are_needed_by_nobody(whole, load):
    assert load({**whole, "metadata.json": b"{"}).count_params() > 0


# -- The configuration


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=range(4))
def test_no_json(whole, load, text):
    members = {**whole, "config.json": text}
    assert "its configuration is damaged (" in blamed(load, members, "configuration")


@pytest.mark.parametrize("config", [[], 5, "x"])
def test_json_of_something_else(whole, load, config):
    with pytest.raises((ModelFileError, TypeError, AttributeError)) as caught:
        load({**whole, "config.json": json.dumps(config).encode()})
    assert isinstance(caught.value, ModelFileError)


def test_the_place_is_named(whole, load):
    def change(config: Any) -> None:
        config["config"]["layers"][1]["config"]["dtype"]["class_name"] = 5

    text = blamed(load, with_config(whole, change), "configuration")
    assert 'config["config"]["layers"][1]["config"]["dtype"]: class_name is 5; ' in text


def test_what_keras_said_is_quoted_without_its_wrapping(whole, load):
    def change(config: Any) -> None:
        config["config"]["layers"][-1]["config"]["units"] = -7

    with pytest.raises(ModelFileError, match=r"makes no model \(ValueError: .*-7"):
        load(with_config(whole, change))

    def odd(config: Any) -> None:
        config["config"]["layers"][-1]["config"]["dtype"]["config"] = {"nmae": "float32"}

    with pytest.raises(ModelFileError, match=r"\(TypeError: .*unexpected keyword") as caught:
        load(with_config(whole, odd))
    assert "could not be deserialized properly" in str(caught.value.__cause__)


def test_keras_versions_are_compared(whole, load):
    def change(config: Any) -> None:
        del config["config"]["layers"][2]["config"]

    text = blamed(load, with_config(whole, change), "configuration")
    assert "It was saved with Keras" not in text
    members = {**with_config(whole, change), "metadata.json": b'{"keras_version": "9.8\\n7"}'}
    text = blamed(load, members, "configuration")
    assert f"It was saved with Keras 9.8 7, and this is {keras.__version__}. " in text


# -- The weights


def edited(data: bytes, change: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


KERNEL = "layers/rnn/cell/cells/lstm_cell/vars/0"


def put(value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        if value is not None:
            file[KERNEL] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: b"junk",
        lambda data: data[:2000],
        lambda data: edited(data, put(None)),
        lambda data: edited(data, put(np.zeros((2, 7)))),
        lambda data: edited(data, put(np.array([b"text"]))),
        lambda data: edited(data, put(h5py.ExternalLink("elsewhere.h5", "/"))),
        lambda data: edited(data, lambda file: file.__delitem__("layers")),
    ],
)
def test_weights(whole, load, change):
    text = blamed(load, {**whole, WEIGHTS: change(whole[WEIGHTS])}, "weights")
    assert "its weights are damaged, or do not fit its configuration (" in text


def test_a_cell_that_layers_of_keras_share(tmp_path):
    cell, inputs = keras.layers.GRUCell(2, **QUICK), keras.Input((3, 2))
    layers = [keras.layers.RNN(cell), keras.layers.RNN(cell, go_backwards=True)]
    keras.Model(inputs, [layer(inputs) for layer in layers]).save(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="If layers of Keras share a cell, make them"):
        kcells.load_model(tmp_path / "model.keras")


# -- What Keras says well, and what is about the call


def test_what_is_about_the_call_stays_as_keras_says_it(whole, load):
    def own(config: Any) -> None:
        config["config"]["layers"][1]["config"]["cell"] |= {
            "module": "my.module",
            "registered_name": "OwnCell",
        }

    with pytest.raises(TypeError, match="Could not locate class") as caught:
        load(with_config(whole, own))
    assert not isinstance(caught.value, KCellsError)

    def unsafe(config: Any) -> None:
        config["config"]["layers"][1]["config"]["cell"] = {
            "class_name": "__lambda__",
            "config": {"value": "x"},
        }

    with pytest.raises(ValueError, match="safe_mode") as caught:
        load(with_config(whole, unsafe))
    assert not isinstance(caught.value, KCellsError)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sfae_mode'"):
        load(whole, sfae_mode=False)


def test_a_plugin_that_is_missing_stays_missing(whole, load):
    def change(config: Any) -> None:
        cells = config["config"]["layers"][1]["config"]["cell"]["config"]["cells"]
        cells[0]["registered_name"] = "kcells-plugin-gone>GoneCell"

    with pytest.raises(MissingPluginError, match="pip install kcells-plugin-gone"):
        load(with_config(whole, change))


def test_what_the_system_says_stays(whole, load, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.models, "load_model", full)
    with pytest.raises(OSError, match="No space left") as caught:
        load(whole)
    assert not isinstance(caught.value, KCellsError)


def test_no_control_characters_in_what_is_quoted(whole, load):
    def change(config: Any) -> None:
        config["config"]["layers"][1] |= {"registered_name": "x\x1b[2Jy", "module": "x\x07"}

    with pytest.raises(ModelFileError) as caught:
        load(with_config(whole, change))
    error: BaseException | None = caught.value
    while error is not None:
        assert "\x1b" not in str(error)
        assert "\x07" not in str(error)
        error = error.__cause__ or error.__context__


# -- A few hundred at random


NAMES = (
    *("", "x", "Dense", "RNN", "GRUCell", "Adam", "Sequential", "Lambda", "function", "relu"),
    *("os.system", "__import__", "eval", "object", "__tensor__", "__numpy__", "__bytes__"),
    *("__typespec__", "__slice__", "__ellipsis__", "__keras_tensor__", "kcells>RNN", "kcells>Trip"),
    *("kcells>x", "kcells-plugin-x>x", ">", "a>b>c", "x\n", "é", "\ud800", "a" * 999),
    *(None, 5, True, [], {}, ["x"], {"a": 1}, "TFSMLayer", "load_model", "get_file"),
)
MODULES = (
    *("", None, "os", "sys", "keras", "keras.layers", "keras.src.layers", "keras.models"),
    *("keras.saving", "keras.ops", "builtins", "kcells", "evil_module", "keras_hub", "keras..x"),
    *(".", 5, [], {}, True, "keras.layers.core", "\ud800", "antigravity"),
)


def objects(config: Any) -> Iterator[dict[str, Any]]:
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from objects(value)


def refusal(load: Callable[..., Any], content: Any) -> str:
    """What was said; empty if it loads."""
    try:
        load(content)
    except KCellsError as error:
        return str(error)
    except (TypeError, ValueError) as error:
        text = str(error)
    else:
        return ""
    assert "register_keras_serializable" in text or "safe_mode" in text
    return text


@pytest.mark.one_in(5)
@pytest.mark.parametrize("seed", range(10))
def test_forged_names(whole, load, seed):
    chance = np.random.default_rng(seed)
    config = json.loads(whole["config.json"])
    count = len(list(objects(config)))
    before = set(sys.modules)
    refused = 0
    for _ in range(20):
        forged = copy.deepcopy(config)
        chosen = list(objects(forged))[chance.integers(count)]
        chosen |= {
            "class_name": NAMES[chance.integers(len(NAMES))],
            "registered_name": NAMES[chance.integers(len(NAMES))],
            "module": MODULES[chance.integers(len(MODULES))],
        }
        refused += bool(refusal(load, {**whole, "config.json": json.dumps(forged).encode()}))
    assert refused > 10
    assert not {"evil_module", "antigravity", "keras_hub"} & (set(sys.modules) - before)


@pytest.mark.one_in(10)
@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere(whole, load, seed):
    chance = np.random.default_rng(seed)
    data = packed(whole)
    start = int(chance.integers(len(data) - 32))
    refusal(load, data[:start] + chance.bytes(32) + data[start + 32 :])
    assert refusal(load, data[:start])
