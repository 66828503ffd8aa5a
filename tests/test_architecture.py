"""Rules about who may import whom, read from the source of the installed package."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

import kcells
from kcells import cells, errors, stock, structure, types
from tests.fake_dists import FakeSite, run_python

ROOT = Path(kcells.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
BACKENDS = ("tensorflow", "jax", "torch")
# What authors may import besides `kcells` itself; the names are in test_public_surface.py.
FOR_AUTHORS = (cells, structure, types)

# Each unit (a module or package right under kcells) may import from the units before it.
# Units of one line know nothing of each other.
ORDER = [
    {"_version", "_keras_private", "reasons", "stock", "text", "types"},
    {"errors"},
    {"running", "structure", "files"},
    {"registry"},
    {"cells"},
    {"engine"},
    {"layers"},
    {"build"},
    {"wrapper"},
    {"saving", "explain", "convert", "streaming"},
    {"decoding"},
    {"bench", "testing"},
    {"commands"},
    {"__init__", "__main__"},
]
RANK = {unit: rank for rank, units in enumerate(ORDER) for unit in units}


def module_name(path: Path) -> str:
    parts = (
        path.relative_to(ROOT.parent if ROOT in path.parents else path.parents[1])
        .with_suffix("")
        .parts
    )
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def source(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[str]:
    """Full names of everything that a file imports, at its top or inside of a function."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(source(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> Iterator[str]:
    """The modules of kcells that a file imports."""
    for name in imports(path):
        if name in MODULES:
            yield name
        elif (parent := name.rpartition(".")[0]) in MODULES:
            yield parent


def unit(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def top(name: str) -> str:
    return name.partition(".")[0]


def relative(path: Path) -> str:
    return path.relative_to(ROOT if ROOT in path.parents else path.parents[1]).as_posix()


each_file = pytest.mark.parametrize("path", FILES, ids=relative)


# -- The rules can be broken: what reads the imports finds them all


def test_imports_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_architecture.ROOT", tmp_path / "kcells")
    file = tmp_path / "kcells" / "layers" / "probe.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import torch.nn as nn, os\n"
        "from keras.src import backend\n"
        "from . import rnn\n"
        "from ..engine import plan\n"
        "def f():\n    from kcells.build import build\n    import jax\n"
    )
    assert sorted(imports(file)) == [
        "jax",
        "kcells.build.build",
        "kcells.engine.plan",
        "kcells.layers.rnn",
        "keras.src.backend",
        "os",
        "torch.nn",
    ]
    init = file.with_name("__init__.py")
    init.write_text("from . import rnn\nfrom .. import errors\n")
    assert sorted(imports(init)) == ["kcells.errors", "kcells.layers.rnn"]


def test_the_source_is_there():
    assert {"kcells", "kcells.build", "kcells.registry.loading"} <= set(MODULES)


# -- Direction


@each_file
def test_dependencies_point_one_way(path):
    own = unit(module_name(path))
    assert own in RANK, f"{relative(path)}: say in ORDER where {own} belongs"
    for module in imported_modules(path):
        other = unit(module)
        assert own == other or RANK[other] < RANK[own], f"{relative(path)} imports {module}"


def test_no_module_imports_itself_in_a_circle():
    graph = {name: set(imported_modules(path)) - {name} for name, path in MODULES.items()}
    while leaves := [name for name, needed in graph.items() if not needed & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


@each_file
def test_no_plugin_is_imported(path):
    assert not [name for name in imports(path) if top(name).startswith("kcells_")]
    text = path.read_text(encoding="utf-8")
    assert "kcells_plugin_" not in text


# -- Backends and private names


@each_file
def test_a_backend_is_imported_in_its_own_module_alone(path):
    found = {top(name) for name in imports(path)} & {*BACKENDS, "jaxlib", "flax", "tf_keras"}
    # tensorflow.py, and tensorflow_own_loop.py beside it.
    folders = {"engine/backends", "bench/backends", "testing/backends", "files/backends"}
    folders |= {"decoding/backends"}
    own = {path.stem.partition("_")[0]} if relative(path.parent) in folders else set()
    # Keras 2 is what one cell is measured against.
    own |= {"tf_keras"} if relative(path) == "bench/backends/tensorflow_keras_2.py" else set()
    assert found <= own


@each_file
def test_what_draws_and_prints_is_imported_where_it_is_needed(path):
    """`import kcells` asks for neither; matplotlib need not even be installed."""
    found = {top(name) for name in imports(path)} & {"click", "rich", "matplotlib"}
    if unit(module_name(path)) not in {"bench", "commands"}:
        assert not found
    outermost = [n for n in source(path).body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not [n for n in outermost if "matplotlib" in ast.unparse(n)]


def test_each_backend_has_its_module():
    folder = ROOT / "engine" / "backends"
    assert {f"{name}.py" for name in BACKENDS} <= {path.name for path in folder.iterdir()}
    assert "tensorflow" in {top(name) for name in imports(folder / "tensorflow.py")}


@each_file
def test_private_names_of_keras_stand_in_one_module(path):
    if path.name == "_keras_private.py":
        return
    for name in imports(path):
        if top(name) == "keras":
            assert not any(part == "src" or part.startswith("_") for part in name.split("."))
    for node in ast.walk(source(path)):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) != "keras.src", f"{relative(path)}, line {node.lineno}"


@each_file
def test_recurrent_classes_of_keras_are_looked_up_in_one_module(path):
    """Elsewhere the name would mean what a user has put in its place."""
    if relative(path) == "stock.py":
        return
    classes = {f"keras.layers.{name}" for name in stock.__all__}
    assert not classes & set(imports(path))
    found = {ast.unparse(n) for n in ast.walk(source(path)) if isinstance(n, ast.Attribute)}
    assert not classes & found


@each_file
def test_nobody_but_the_loader_imports_by_name(path):
    """What imports by a name that it was given decides whose code runs."""
    allowed = {
        *("registry/loading.py", "running.py"),
        # The subcommands, by a table of their names; the rest of the package itself.
        *("commands/group.py", "commands/library.py"),
    }
    names = {node.attr for node in ast.walk(source(path)) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(source(path)) if isinstance(node, ast.Name)}
    by_name = {"import_module", "__import__", "exec", "eval", "exec_module", "run_module"}
    if relative(path) not in allowed:
        assert not names & by_name


# -- Form


@each_file
def test_module_has_a_docstring(path):
    assert ast.get_docstring(source(path))


@each_file
def test_module_is_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@each_file
def test_functions_are_short_enough_to_read(path):
    for node in ast.walk(source(path)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{relative(path)}: {node.name} has {length} lines"


# -- The plugins of this repository, which are what strangers copy from


PLUGINS = Path(__file__).parents[1] / "plugins"
PLUGIN_FILES = sorted(PLUGINS.glob("*/src/*/*.py"))
each_plugin_file = pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.stem)


def test_there_are_files_of_plugins():
    assert {"mlstm", "nested"} <= {path.parent.name.rpartition("_")[2] for path in PLUGIN_FILES}


@each_plugin_file
def test_a_plugin_imports_what_is_public_and_no_backend(path):
    public = {"kcells": kcells, "kcells.errors": errors}
    public |= {f"kcells.{module.__name__.rpartition('.')[2]}": module for module in FOR_AUTHORS}
    known = {*public, *(f"{name}.{n}" for name, module in public.items() for n in module.__all__)}
    allowed = {*sys.stdlib_module_names, "numpy", "keras", "kcells", path.parent.name}
    for name in imports(path):
        assert top(name) in allowed, name
        assert top(name) != "kcells" or name in known, name
        assert top(name) != "keras" or "src" not in name.split("."), name


@each_plugin_file
def test_a_plugin_is_short_enough_to_read(path):
    test_module_has_a_docstring(path)
    test_module_is_short_enough_to_read(path)
    test_functions_are_short_enough_to_read(path)


# -- What an import brings with it


def test_importing_kcells_brings_no_plugin_and_no_other_backend(tmp_path):
    site = FakeSite(tmp_path / "site")
    plugin = site.plugin("kcells-plugin-foo", {"foo": "FooCell"}, source="1 / 0")
    shown = run_python(
        """
        import json, sys

        import keras

        before = set(sys.modules)
        import kcells

        print(json.dumps(sorted(set(sys.modules) - before)))
        assert any(info.id == "foo" for info in kcells.list_cells())
        """,
        cwd=tmp_path,
        path=[site.folder],
        KERAS_BACKEND=keras.backend.backend(),
    )
    added = json.loads(shown.splitlines()[-1])
    assert "kcells.layers.rnn" in added
    assert not {"kcells.bench", "kcells.commands", "kcells_command", "click", "matplotlib"} & set(
        added
    )
    assert plugin.imports == 0
    assert not [name for name in added if name.startswith(("kcells_", plugin.module))]
    others = set(BACKENDS) - {keras.backend.backend()}
    assert not [name for name in added if top(name) in others]
    assert not [
        n for n in added if n.startswith(tuple(f"kcells.engine.backends.{b}" for b in others))
    ]


def test_no_two_test_cells_are_registered_under_one_name():
    """In one process a file of the one would load as the other."""
    root = Path(__file__).parents[1]
    files = [*root.glob("tests/**/*.py"), *root.glob("plugins/*/tests/**/*.py")]
    found: dict[str, list[str]] = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            for decorator in node.decorator_list:
                written = ast.unparse(decorator)
                if written.startswith("keras.saving.register_keras_serializable"):
                    found.setdefault(f"{written} {node.name}", []).append(path.name)
    assert len(found) > 30
    assert [clash for clash in found.items() if len(clash[1]) > 1] == []
