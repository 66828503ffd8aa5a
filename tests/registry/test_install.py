"""A plugin that is really built and installed, by pip, and used with nothing else changed."""

import json
import subprocess
import sys

import pytest

from tests.fake_dists import run_python

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "Kcells_Plugin.Throwaway"
version = "1.2.3"
description = "One cell, for one test"
dependencies = ["kcells>=0.1"]

[project.entry-points."kcells.cells"]
foo = "kcells_plugin_throwaway.cells:FooCell"

[tool.setuptools.packages.find]
where = ["src"]
"""

CELLS = '''
"""The cell."""

import keras


@keras.saving.register_keras_serializable(package="kcells-plugin-throwaway")
class FooCell(keras.layers.Layer):
    """A sum that leaks."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="ones")

    def call(self, inputs, states):
        state = 0.5 * states[0] + keras.ops.matmul(inputs, self.kernel)
        return state, [state]
'''

USE = """
import json, sys

import keras, kcells, numpy as np

assert not any(name.startswith("kcells_plugin") for name in sys.modules)
info = kcells.describe("foo")
layer = kcells.build("foo", 8)
outputs = keras.ops.convert_to_numpy(layer(np.ones((2, 3, 4), "float32")))
print(json.dumps([info.qualified_id, info.version, info.summary, outputs.tolist()]))
"""


@pytest.mark.slow
@pytest.mark.once
def test_pip_install_is_all_it_takes(tmp_path):
    project, target = tmp_path / "project", tmp_path / "target"
    package = project / "src" / "kcells_plugin_throwaway"
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text('"""A plugin that is thrown away."""\n')
    (package / "cells.py").write_text(CELLS)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--target", str(target), str(project)]
    subprocess.run([*pip, *options], check=True, capture_output=True, timeout=300)

    shown = run_python(USE, cwd=tmp_path, path=[target])
    qualified_id, version, summary, outputs = json.loads(shown.splitlines()[-1])
    assert qualified_id == "kcells-plugin-throwaway:foo"
    assert version == "1.2.3"
    assert summary == "One cell, for one test"
    # Four inputs of one a step: 4, then half of it and 4, then half of that and 4.
    assert outputs == [[7.0] * 8] * 2
