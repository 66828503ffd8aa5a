"""Installed distributions that exist for one test.

A plugin is what pip leaves behind: a `.dist-info` folder with its metadata, and modules
beside it. Here both are written by hand into a folder of the test, which goes in front
of `sys.path`.

A process imports a module once and keeps it, so every plugin gets a module name that no
other test uses. Each module counts how often it was run in a file outside of the
folder: that proves laziness from any thread and any process.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import keras
import pytest

__all__ = ["FakePlugin", "FakeSite", "run_python", "temporary_site"]

_numbers = itertools.count()

_COUNT_IMPORTS = """\
with open({log!r}, "a") as log:
    log.write("|")
"""

_CELL = '''
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="{distribution}")
class {name}(keras.layers.Layer):
    """Two states of different sizes, and an output that is neither."""

    def __init__(self, units, leak=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.leak = leak
        self.state_size = [units, units + 1]
        self.output_size = units

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], units), name="kernel")
        self.recurrent = self.add_weight(shape=(units + 1, units), name="recurrent")
        self.widening = self.add_weight(shape=(units, units + 1), name="widening")

    def call(self, inputs, states):
        slow, wide = states
        driven = ops.matmul(inputs, self.kernel) + ops.matmul(wide, self.recurrent)
        slow = self.leak * slow + (1 - self.leak) * driven
        wide = ops.tanh(ops.matmul(slow, self.widening))
        return ops.tanh(slow) + 1.0, [slow, wide]

    def get_config(self):
        return {{**super().get_config(), "units": self.units, "leak": self.leak}}
'''


@dataclasses.dataclass(frozen=True)
class FakePlugin:
    """A plugin on disk.

    Attributes:
        distribution: its name, as its metadata spell it.
        version: its version.
        module: the name of its module.
        path: the module's file.
        log: the file that grows by one character with each run of the module.
    """

    distribution: str
    version: str
    module: str
    path: Path
    log: Path

    @property
    def imports(self) -> int:
        """How often the module was run, in all processes."""
        return len(self.log.read_text()) if self.log.exists() else 0


class FakeSite:
    """A folder that plays `site-packages`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def plugin(
        self,
        distribution: str,
        cells: Mapping[str, str],
        *,
        version: str = "1.0",
        requires: Iterable[str] = ("kcells",),
        source: str | None = None,
        module: str | None = None,
    ) -> FakePlugin:
        """Installs a plugin.

        Args:
            distribution: its name.
            cells: the entry points: the id, and the name of a class in the plugin's module
                or a whole target with a colon.
            version: its version.
            requires: its requirements.
            source: the module's code; left out, a working cell for each class name.
            module: the module's name; left out, one that nobody else has.
        """
        if module is None:
            stem = "".join(c if c.isalnum() else "_" for c in distribution.lower())
            module = f"{stem}_{next(_numbers)}"
        if source is None:
            names = [target for target in cells.values() if ":" not in target]
            source = "".join(_CELL.format(distribution=distribution, name=name) for name in names)
        plugin = self.module(module, source, distribution, version)
        lines = ["[console_scripts]", "ignored = ignored:main", "", "[kcells.cells]"]
        for cell_id, target in cells.items():
            lines.append(f"{cell_id} = {target if ':' in target else f'{module}:{target}'}")
        self.dist_info(distribution, version, "\n".join(lines), requires=requires)
        return plugin

    def module(
        self, module: str, source: str, distribution: str = "", version: str = ""
    ) -> FakePlugin:
        """Writes a module that counts its runs, without any metadata."""
        path = self.folder / f"{module}.py"
        log = self.folder.parent / f"{module}.imports"
        path.write_text(_COUNT_IMPORTS.format(log=str(log)) + textwrap.dedent(source))
        # Python trusts what it remembers of a folder for as long as the clock of the file
        # system stands still, which is longer than it takes to get here.
        importlib.invalidate_caches()
        return FakePlugin(distribution, version, module, path, log)

    def dist_info(
        self,
        distribution: str,
        version: str,
        entry_points: str | bytes | None,
        *,
        requires: Iterable[str] = (),
        metadata: str | bytes | None = None,
    ) -> Path:
        """Writes a `.dist-info` folder; `metadata` replaces the whole METADATA file."""
        folder = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        if metadata is None:
            lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
            lines += [f"Summary: Cells of {distribution}."]
            lines += [f"Requires-Dist: {line}" for line in requires]
            metadata = "\n".join(lines) + "\n"
        _write(folder / "METADATA", metadata)
        if entry_points is not None:
            _write(folder / "entry_points.txt", entry_points)
        return folder


@contextmanager
def temporary_site(folder: Path) -> Iterator[FakeSite]:
    """A site in front of `sys.path`; every installed plugin is allowed.

    On exit the path is as it was, and Keras knows no class that it did not know before.
    """
    site = FakeSite(folder)
    known = keras.saving.get_custom_objects()
    before = dict(known)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site.folder)
        patch.delenv("KCELLS_PLUGINS", raising=False)
        try:
            yield site
        finally:
            known.clear()
            known.update(before)


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def run_python(
    code: str, *arguments: str | Path, cwd: Path, path: Iterable[Path] = (), **environment: str
) -> str:
    """Runs code in a new process that has the folders of `path` on `sys.path`.

    Args:
        code: the program.
        *arguments: its `sys.argv[1:]`.
        cwd: where it runs: not in the checkout, whose packages would then be found first.
        path: folders in front of the search path.
        **environment: variables on top of this process's.

    Returns:
        What it printed.
    """
    folders = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
    clean = {key: value for key, value in os.environ.items() if key != "KCELLS_PLUGINS"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=cwd,
        env=clean | {"PYTHONPATH": os.pathsep.join(folders)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
