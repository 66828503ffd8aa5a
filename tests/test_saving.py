"""Saving and loading: in this process, and in a fresh one that did `import kcells` only.

The fresh process is started once. It gets a list of files to load, each with a plugin of
its own, so that every load is the first use of its plugin; what came of it (outputs or
the error) is looked at by the tests one by one.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kcells
from kcells.errors import CellError
from tests.fake_dists import FakePlugin, FakeSite, run_python, temporary_site

UNITS = 4

DICT_CELL = '''
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="{distribution}")
class FooCell(keras.layers.Layer):
    """Dicts for inputs, states and outputs, every leaf of another shape."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = {{"slow": units, "fast": (units, 2)}}

    def build(self, input_shape):
        pen, force = input_shape["pen"], input_shape["more"]["force"]
        self.pen = self.add_weight(shape=(pen[-1], self.units), name="pen")
        self.force = self.add_weight(shape=(force[-1], self.units), name="force")

    def call(self, inputs, states):
        driven = ops.matmul(inputs["pen"], self.pen)
        driven = driven + ops.matmul(inputs["more"]["force"], self.force)
        slow = 0.5 * states["slow"] + driven
        fast = ops.tanh(states["fast"] + ops.stack([slow, -2 * slow], axis=-1))
        return {{"plain": ops.tanh(slow), "wide": fast + 1.0}}, {{"slow": slow, "fast": fast}}

    def get_config(self):
        return {{**super().get_config(), "units": self.units}}
'''


# -- The models. Each is made around a cell that `foo` names.


def _sequence_model(make_layer: Callable[[], Any]) -> keras.Model:
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, make_layer()(inputs))


def _dict_model(make_layer: Callable[[], Any]) -> keras.Model:
    inputs = {
        "pen": keras.Input((5, 3), name="pen"),
        "more": {"force": keras.Input((5, 1), name="force")},
    }
    return keras.Model(inputs, make_layer()(inputs))


# Not the default initializer, an orthogonal matrix, which takes JAX long to compile.
QUICK = {"recurrent_initializer": "glorot_uniform"}


def quick(name: str, units: int) -> Any:
    return kcells.cell(name, units, **QUICK)


def one_layer(foo: str) -> keras.Model:
    return _sequence_model(lambda: kcells.build(foo, UNITS, leak=0.25, return_sequences=True))


def all_options(foo: str) -> keras.Model:
    inputs = keras.Input((5, 3))
    masked = keras.layers.Masking()(inputs)
    options = {"go_backwards": True, "zero_output_for_mask": True, "return_state": True}
    layer = kcells.build(foo, UNITS, return_sequences=True, **options)
    return keras.Model(inputs, layer(masked))


def stack(foo: str) -> keras.Model:
    cells = [foo, quick("gru", UNITS), quick("lstm", 3)]
    return _sequence_model(lambda: kcells.build(cells, UNITS, return_sequences=True))


def stack_both_ways(foo: str) -> keras.Model:
    return _sequence_model(
        lambda: kcells.Bidirectional(kcells.build([foo, quick("lstm", UNITS)], UNITS))
    )


def nested(foo: str) -> keras.Model:
    return _dict_model(lambda: kcells.build(foo, UNITS, return_sequences=True, return_state=True))


def nested_both_ways(foo: str) -> keras.Model:
    merge_mode = {"plain": "sum", "wide": "concat"}
    return _dict_model(
        lambda: kcells.Bidirectional(kcells.build(foo, UNITS), merge_mode=merge_mode)
    )


def stock(foo: str) -> keras.Model:
    """A cell in Keras' own layer, which records nothing."""
    return _sequence_model(lambda: keras.layers.RNN(kcells.cell(foo, UNITS)))


DICT_MODELS = (nested, nested_both_ways)
MODELS = (one_layer, all_options, stack, stack_both_ways, *DICT_MODELS)

FEW_MODELS = (all_options, stack_both_ways, nested_both_ways)

each_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def random_inputs(make: Callable[[str], keras.Model]) -> Any:
    rng = np.random.default_rng(7)
    pen = rng.normal(size=(2, 5, 3)).astype("float32")
    pen[1, 2:4] = 0.0  # a step that `Masking` masks
    if make not in DICT_MODELS:
        return pen
    return {"pen": pen, "more": {"force": rng.normal(size=(2, 5, 1)).astype("float32")}}


def arrays(structure: Any) -> list[np.ndarray]:
    """The leaves. Keras itself turns tuples of outputs into lists when it loads a model."""
    return [keras.ops.convert_to_numpy(leaf) for leaf in keras.tree.flatten(structure)]


def assert_same(actual: Any, expected: Any) -> None:
    assert len(arrays(actual)) == len(arrays(expected))
    for one, other in zip(arrays(actual), arrays(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def install(site: FakeSite, distribution: str, make: Callable[..., Any]) -> FakePlugin:
    """A plugin whose one cell fits into `make`."""
    source = DICT_CELL.format(distribution=distribution) if make in DICT_MODELS else None
    cell_id = distribution.removeprefix("kcells-plugin-")
    return site.plugin(distribution, {cell_id: "FooCell"}, source=source, version="1.2.3")


# -- In one process


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSite]:
    with temporary_site(tmp_path_factory.mktemp("saving") / "site") as made:
        yield made


@dataclasses.dataclass(frozen=True)
class Saved:
    """A model, what it computes, and its file."""

    plugin: FakePlugin
    model: keras.Model
    inputs: Any
    outputs: list[np.ndarray]
    file: Path


@pytest.fixture(scope="module")
def saved(
    site: FakeSite, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable[[str], keras.Model]], Saved]:
    """A model of each kind, made once."""
    folder = tmp_path_factory.mktemp("models")
    plugins = {
        "flat": install(site, "kcells-plugin-flat", one_layer),
        "dicts": install(site, "kcells-plugin-dicts", nested),
    }

    @functools.cache
    def get(make: Callable[[str], keras.Model]) -> Saved:
        # Not the seed that every test starts with: two models must not agree by chance.
        keras.utils.set_random_seed(7)
        model, inputs = model_of(make), random_inputs(make)
        file = folder / f"{make.__name__}.keras"
        model.save(file)
        return Saved(plugins[cell_id(make)], model, inputs, arrays(model(inputs)), file)

    return get


def cell_id(make: Callable[[str], keras.Model]) -> str:
    return "dicts" if make in DICT_MODELS else "flat"


def model_of(make: Callable[[str], keras.Model]) -> keras.Model:
    return make(cell_id(make))


@each_model
def test_keras_file(saved, make):
    one = saved(make)
    assert_same(keras.models.load_model(one.file)(one.inputs), one.outputs)


@pytest.mark.parametrize("convert", [str, Path])
def test_kcells_load_model_takes_paths_and_text(saved, convert):
    one = saved(one_layer)
    assert_same(kcells.load_model(convert(one.file))(one.inputs), one.outputs)


@pytest.mark.parametrize("make", FEW_MODELS)
def test_weights_file(saved, tmp_path, make):
    one, other = saved(make), model_of(make)
    assert any(
        (a != b).any()
        for a, b in zip(arrays(other.weights), arrays(one.model.weights), strict=True)
    )
    one.model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(other(one.inputs), one.outputs)


@pytest.mark.parametrize("make", FEW_MODELS)
def test_config(saved, make):
    one = saved(make)
    config = json.loads(json.dumps(one.model.get_config()))
    other = type(one.model).from_config(config)
    other.set_weights(one.model.get_weights())
    assert_same(other(one.inputs), one.outputs)


@pytest.mark.parametrize("make", FEW_MODELS)
def test_clone(saved, make):
    one = saved(make)
    clone = keras.models.clone_model(one.model)
    mine = {id(variable) for variable in one.model.variables}
    assert not any(id(variable) in mine for variable in clone.variables)
    clone.set_weights(one.model.get_weights())
    assert_same(clone(one.inputs), one.outputs)


@pytest.mark.parametrize("make", [one_layer, stack, stack_both_ways, nested])
def test_layer_config_survives_a_second_trip(saved, make):
    layer = saved(make).model.layers[-1]
    config = layer.get_config()
    before = copy.deepcopy(config)
    again = type(layer).from_config(config).get_config()
    assert config == before
    assert plain(again) == plain(config)


def plain(config: Any) -> Any:
    """A configuration without the marks by which Keras finds objects that are shared."""
    if isinstance(config, dict):
        return {
            k: plain(v) for k, v in config.items() if k not in ("shared_object_id", "build_config")
        }
    return [plain(v) for v in config] if isinstance(config, (list, tuple)) else config


def test_options_of_the_layer_survive():
    options = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "name": "encoder",
    }
    layer = kcells.RNN(keras.layers.LSTMCell(UNITS, recurrent_dropout=0.25), **options)
    again = kcells.RNN.from_config(layer.get_config())
    assert {name: getattr(again, name) for name in options} == options
    assert again.cell.recurrent_dropout == 0.25


@pytest.mark.parametrize(
    "merge_mode", ["concat", "sum", "ave", "mul", None, {"a": "sum", "b": [None]}]
)
def test_merge_mode_survives(merge_mode):
    layer = kcells.Bidirectional(kcells.build("gru", 2), merge_mode=merge_mode, name="both")
    config = json.loads(json.dumps(layer.get_config()))
    again = kcells.Bidirectional.from_config(config)
    assert again.merge_mode == merge_mode
    assert again.name == "both"


def test_backward_layer_survives():
    backward = kcells.build("gru", 3, go_backwards=True, name="from_the_end")
    layer = kcells.Bidirectional(kcells.build("gru", 2), backward_layer=backward)
    again = kcells.Bidirectional.from_config(layer.get_config())
    assert (again.forward_layer.cell.units, again.backward_layer.cell.units) == (2, 3)
    assert again.backward_layer.name == "from_the_end"


def test_trained_model_goes_on_training(saved, tmp_path, rng):
    saved(one_layer)  # installs the plugin
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            kcells.build("flat", UNITS),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x, y = rng.normal(size=(8, 5, 3)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    again = kcells.load_model(tmp_path / "model.keras")
    assert int(again.optimizer.iterations) == 1
    assert_same(again.optimizer.variables, model.optimizer.variables)
    for each in (model, again):
        each.train_on_batch(x, y)
    assert_same(again.weights, model.weights)


def test_stateful_model(tmp_path):
    inputs = keras.Input(batch_shape=(2, 5, 3))
    model = keras.Model(
        inputs, kcells.build([quick("gru", 2), quick("lstm", 3)], stateful=True)(inputs)
    )
    x = random_inputs(one_layer)
    first = arrays(model(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    # What a layer remembers is no weight: the loaded model starts afresh.
    assert_same(again(x), first)
    assert len(again.weights) == len(model.weights)


# -- What a file records


def records(config: Any) -> list[Any]:
    """All lists of sources in a configuration, outermost first."""
    if isinstance(config, dict):
        own = [config["cell_sources"]] if "cell_sources" in config else []
        return own + [r for value in config.values() for r in records(value)]
    if isinstance(config, (list, tuple)):
        return [r for value in config for r in records(value)]
    return []


def source(cell_id: str, distribution: str, version: str) -> dict[str, str]:
    return {"id": cell_id, "distribution": distribution, "version": version}


FLAT = source("flat", "kcells-plugin-flat", "1.2.3")
DICTS = source("dicts", "kcells-plugin-dicts", "1.2.3")
LSTM = source("lstm", "kcells", kcells.__version__)
GRU = source("gru", "kcells", kcells.__version__)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (one_layer, [FLAT]),
        (all_options, [FLAT]),
        (stack, [FLAT, GRU, LSTM]),
        (stack_both_ways, [FLAT, LSTM]),
        (nested, [DICTS]),
        (nested_both_ways, [DICTS]),
    ],
)
def test_file_records_id_distribution_and_version(saved, make, expected):
    with zipfile.ZipFile(saved(make).file) as archive:
        found = records(json.loads(archive.read("config.json")))
    assert found
    assert all(record == expected for record in found)


def test_every_plugin_of_a_stack_is_recorded_once(saved, site):
    site.plugin("kcells-plugin-second", {"second": "SecondCell"}, version="0.7")
    config = kcells.build(["flat", "second", "gru", "flat"], UNITS).get_config()
    second = source("second", "kcells-plugin-second", "0.7")
    assert config["cell_sources"] == [FLAT, second, GRU]


def test_cells_of_keras_are_recorded_as_those_of_kcells():
    assert records(kcells.build(["gru", "lstm"], UNITS).get_config()) == [[GRU, LSTM]]


def test_cells_that_nobody_declares_leave_no_record():
    assert not any(records(kcells.build(UnregisteredCell, UNITS).get_config()))


def test_the_record_is_not_believed_but_renewed(saved):
    config = kcells.build("flat", UNITS).get_config()
    config["cell_sources"] = [{"id": "x", "distribution": "x", "version": "9"}]
    assert kcells.RNN.from_config(config).get_config()["cell_sources"] == [FLAT]


@pytest.mark.parametrize("with_record", [True, False])
def test_a_file_of_another_version_of_the_plugin_loads(saved, with_record):
    config = kcells.build("flat", UNITS).get_config()
    if with_record:
        config["cell_sources"][0]["version"] = "0.0.1"
    else:
        del config["cell_sources"]
    assert kcells.RNN.from_config(config).cell.units == UNITS


def test_a_configuration_without_a_cell():
    config = kcells.build("gru", UNITS).get_config()
    config["cell"] = {"units": UNITS}
    with pytest.raises(CellError, match="the configuration of RNN holds no cell"):
        kcells.RNN.from_config(config)


# -- load_model: its arguments, and files that are none


class UnregisteredCell(keras.layers.GRUCell):
    """A cell that nobody registered."""


def test_custom_objects_by_class_name(tmp_path):
    model = _sequence_model(lambda: kcells.build(UnregisteredCell, UNITS, **QUICK))
    with pytest.warns(UserWarning, match="UnregisteredCell of .* comes from no plugin"):
        model.save(tmp_path / "model.keras")
    inputs = random_inputs(one_layer)
    for load in (keras.models.load_model, kcells.load_model):
        again = load(
            tmp_path / "model.keras", custom_objects={"UnregisteredCell": UnregisteredCell}
        )
        assert_same(again(inputs), model(inputs))


def test_custom_objects_stand_in_for_a_plugin(saved, tmp_path):
    one = saved(one_layer)
    names = {"kcells-plugin-flat>FooCell": "kcells-plugin-gone>FooCell"}
    rename(one.file, tmp_path / "model.keras", names)
    custom_objects = {"kcells-plugin-gone>FooCell": type(kcells.cell("flat", UNITS))}
    for load in (keras.models.load_model, kcells.load_model):
        again = load(tmp_path / "model.keras", custom_objects=custom_objects)
        assert_same(again(one.inputs), one.outputs)


def test_arguments_are_handed_on(tmp_path):
    model = _sequence_model(lambda: keras.layers.Lambda(lambda x: x + 1, output_shape=(5, 3)))
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="lambda"):
        kcells.load_model(tmp_path / "model.keras")
    again = kcells.load_model(str(tmp_path / "model.keras"), safe_mode=False, compile=False)
    assert not again.compiled


def test_what_is_no_keras_file_is_left_to_keras(tmp_path):
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "text.h5").write_text("no model")
    for name in ("absent.keras", "folder.keras", "text.txt", "text.h5"):
        with pytest.raises(Exception) as ours:  # noqa: PT011  # whatever Keras raises
            kcells.load_model(tmp_path / name)
        with pytest.raises(Exception) as theirs:  # noqa: PT011
            keras.models.load_model(tmp_path / name)
        assert (ours.type, str(ours.value)) == (theirs.type, str(theirs.value))


# -- In a fresh process


FRESH = """
import kcells

import json, os, sys, traceback

import keras
import numpy as np

jobs, results = json.load(open(sys.argv[1])), {}
loaders = {"keras": keras.models.load_model, "kcells": kcells.load_model}
for name, job in jobs.items():
    for module in job["modules"]:
        assert module not in sys.modules, f"{module} was imported before {name}"
    if job["allowed"] is not None:
        os.environ["KCELLS_PLUGINS"] = job["allowed"]
    try:
        model = loaders[job["loader"]](job["file"])
        values = np.load(job["inputs"])
        inputs = keras.tree.map_structure(values.__getitem__, job["structure"])
        outputs = keras.tree.flatten(model(inputs))
        np.savez(job["file"] + ".outputs.npz", *map(keras.ops.convert_to_numpy, outputs))
        results[name] = {"ok": True}
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        results[name] = {"ok": False, "kinds": kinds, "text": str(error)}
    finally:
        os.environ.pop("KCELLS_PLUGINS", None)
    results[name]["imported"] = [m for m in job["modules"] if m in sys.modules]
json.dump(results, open(sys.argv[2], "w"))
"""


def rename(old: Path, new: Path, names: dict[str, str | None]) -> None:
    """Copies a `.keras` file, with other strings in its configuration."""
    with zipfile.ZipFile(old) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    text = content["config.json"].decode()
    for before, after in names.items():
        assert json.dumps(before) in text
        text = text.replace(json.dumps(before), json.dumps(after))
    with zipfile.ZipFile(new, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, text if name == "config.json" else data)


def name_of(kind: str, make: Callable[..., Any], loader: str) -> str:
    """The name of a job, from which that of its distribution is made."""
    return f"{kind}-{make.__name__.replace('_', '')}-{loader}"


class FreshProcess:
    """Collects files to load, and then what came of them.

    Attributes:
        site: on the path of both processes.
        absent: on the path of this process only.
    """

    def __init__(self, folder: Path, saved: Any, site: FakeSite, absent: FakeSite) -> None:
        self.folder, self.saved, self.site, self.absent = folder, saved, site, absent
        self.jobs: dict[str, dict[str, Any]] = {}
        self.expected: dict[str, list[np.ndarray]] = {}
        self.plugins: dict[str, FakePlugin] = {}

    def add(
        self,
        kind: str,
        make: Callable[[str], keras.Model],
        loader: str,
        *,
        site: FakeSite | None = None,
        names: dict[str, str | None] | None = None,
        allowed: str | None = None,
        modules: tuple[str, ...] = (),
    ) -> None:
        """A file of a model that is like `make`, with a plugin that no other file needs.

        Args:
            kind: the first part of the job's name.
            make: the model.
            loader: `"keras"` or `"kcells"`.
            site: where the plugin is installed.
            names: what else to replace in the file; see `rename`.
            allowed: the value of `KCELLS_PLUGINS`.
            modules: modules that must not be imported yet.
        """
        one = self.saved(make)
        name = name_of(kind, make, loader)
        distribution = f"kcells-plugin-{name}"
        plugin = install(site or self.site, distribution, make)
        own = {
            f"{one.plugin.distribution}>FooCell": f"{distribution}>FooCell",
            one.plugin.module: plugin.module,
        }
        if make is not stock:
            own[one.plugin.distribution] = distribution
        file = self.folder / f"{name}.keras"
        rename(one.file, file, own)
        if names:
            rename(file, file, {getattr(plugin, old, old): new for old, new in names.items()})
        paths = {"pen": "pen", "more": {"force": "force"}} if make in DICT_MODELS else "pen"
        flat = zip(keras.tree.flatten(paths), keras.tree.flatten(one.inputs), strict=True)
        np.savez(self.folder / f"{name}.npz", **dict(flat))
        self.jobs[name] = {
            "file": str(file),
            "loader": loader,
            "inputs": str(self.folder / f"{name}.npz"),
            "structure": paths,
            "allowed": allowed,
            "modules": [plugin.module, *modules],
        }
        self.plugins[name] = plugin
        self.expected[name] = one.outputs

    def run(self) -> dict[str, Any]:
        jobs, results = self.folder / "jobs.json", self.folder / "results.json"
        jobs.write_text(json.dumps(self.jobs))
        run_python(FRESH, jobs, results, cwd=self.folder, path=[self.site.folder])
        return json.loads(results.read_text())  # type: ignore[no-any-return]


LOADERS = ("keras", "kcells")
EVIL = "evil_module"
EVIL_NAMES = ("evil>Cell", "evil_module>Cell", "Cell", None)
INSTALLED = (
    *((make, "keras") for make in (all_options, stack_both_ways, nested)),
    *((make, "kcells") for make in (stack, nested_both_ways, stock)),
)
ABSENT = (
    *((make, "keras") for make in (one_layer, stack, stack_both_ways, nested)),
    *((make, "kcells") for make in (one_layer, nested)),
)


@pytest.fixture(scope="module")
def fresh(
    saved: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FreshProcess, Any, FakePlugin]]:
    """The jobs, the results, and the module that nobody must import."""
    folder = tmp_path_factory.mktemp("fresh")
    with temporary_site(folder / "here") as here, temporary_site(folder / "absent") as absent:
        process = FreshProcess(folder, saved, here, absent)
        evil = here.module(EVIL, "class Cell: ...")
        for make, loader in INSTALLED:
            process.add("plain", make, loader)
        for make, loader in (*ABSENT, (stock, "kcells")):
            process.add("absent", make, loader, site=absent)
        for loader in LOADERS:
            own = f"kcells-plugin-allowed-onelayer-{loader}"
            process.add("allowed", one_layer, loader, allowed=own)
            process.add("hidden", one_layer, loader, allowed=own)
            process.add("broken", one_layer, loader)
            gone = f"kcells-plugin-undeclared-onelayer-{loader}"
            names = {"FooCell": "BarCell", f"{gone}>FooCell": f"{gone}>BarCell"}
            process.add("undeclared", one_layer, loader, names=names)
            for k, registered_name in enumerate(EVIL_NAMES):
                for make in (one_layer, stock):
                    old = f"kcells-plugin-{name_of(f'evil{k}', make, loader)}>FooCell"
                    names = {old: registered_name, "FooCell": "Cell", "module": EVIL}
                    process.add(f"evil{k}", make, loader, names=names, modules=(EVIL,))
        for name, plugin in process.plugins.items():
            if name.startswith("broken"):
                plugin.path.write_text("raise RuntimeError('broken since')")
        yield process, process.run(), evil


each_loader = pytest.mark.parametrize("loader", LOADERS)


@pytest.mark.parametrize(("make", "loader"), INSTALLED)
def test_fresh_process_predicts_the_same(fresh, make, loader):
    process, results, _ = fresh
    name = name_of("plain", make, loader)
    assert results[name]["ok"], results[name]["text"]
    assert results[name]["imported"] == [process.plugins[name].module]
    outputs = np.load(process.jobs[name]["file"] + ".outputs.npz")
    assert_same([outputs[key] for key in outputs.files], process.expected[name])


def failure(fresh: Any, name: str, kind: str) -> str:
    result = fresh[1][name]
    assert not result["ok"]
    assert kind in result["kinds"], result["text"]
    return result["text"]


@pytest.mark.parametrize(("make", "loader"), ABSENT)
def test_missing_plugin_names_the_line_to_install_it(fresh, make, loader):
    name = name_of("absent", make, loader)
    text = failure(fresh, name, "MissingPluginError")
    distribution = f"kcells-plugin-{name}"
    assert text == (
        f'the saved model needs the cell class "FooCell" of {distribution},'
        " which is not installed.\n"
        f"  Install it: pip install {distribution}==1.2.3"
    )


def test_missing_plugin_in_a_layer_of_keras(fresh):
    text = failure(fresh, "absent-stock-kcells", "MissingPluginError")
    assert text.endswith("Install it: pip install kcells-plugin-absent-stock-kcells")


@each_loader
def test_hidden_plugin_is_said_to_be_hidden(fresh, loader):
    name = f"hidden-onelayer-{loader}"
    text = failure(fresh, name, "MissingPluginError")
    assert f"of kcells-plugin-{name}, which KCELLS_PLUGINS hides." in text
    assert f"add kcells-plugin-{name} to KCELLS_PLUGINS" in text
    assert fresh[1][name]["imported"] == []


@each_loader
def test_allowed_plugin_loads(fresh, loader):
    assert fresh[1][f"allowed-onelayer-{loader}"]["ok"]


@each_loader
def test_broken_plugin_shows_its_cause(fresh, loader):
    text = failure(fresh, f"broken-onelayer-{loader}", "PluginLoadError")
    assert "raised RuntimeError: broken since" in text


@each_loader
def test_class_that_the_plugin_does_not_have(fresh, loader):
    text = failure(fresh, f"undeclared-onelayer-{loader}", "MissingPluginError")
    distribution = f"kcells-plugin-undeclared-onelayer-{loader}"
    assert f'"BarCell" of {distribution}, and {distribution} 1.2.3 has no such class' in text


@each_loader
@pytest.mark.parametrize("make", [one_layer, stock])
@pytest.mark.parametrize("k", range(len(EVIL_NAMES)), ids=map(str, EVIL_NAMES))
def test_a_module_that_a_file_names_is_not_imported(fresh, make, loader, k):
    _, results, evil = fresh
    name = name_of(f"evil{k}", make, loader)
    assert not results[name]["ok"]
    assert EVIL not in results[name]["imported"]
    assert evil.imports == 0


def test_the_module_would_have_been_noticed(fresh):
    """That nothing was imported means something only if an import leaves a trace."""
    process, _, _ = fresh
    probe = process.site.module("evil_probe", "class Cell: ...")
    run_python("import evil_probe", cwd=process.folder, path=[process.site.folder])
    assert probe.imports == 1
