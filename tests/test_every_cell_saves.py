"""Every installed cell in a file of its own, all of which a fresh process loads."""

import keras
import numpy as np
import pytest

import kcells
from kcells.testing.models import functional
from kcells.testing.runner import planned
from kcells.testing.target import Target
from tests.fake_dists import run_python

# What a user's program does who got the files: `import kcells`, and nothing about plugins.
FRESH = """
import pathlib, sys

import keras
import kcells
import numpy

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    print(path.stem)
    model = keras.models.load_model(path)
    with numpy.load(path.with_suffix(".npz")) as arrays:
        leaves = [arrays[f"arr_{k}"] for k in range(len(arrays))]
    outputs = model(keras.tree.pack_sequence_as(model.input, leaves))
    outputs = map(keras.ops.convert_to_numpy, keras.tree.flatten(outputs))
    numpy.savez(path.with_suffix(".outputs.npz"), *outputs)
"""


@pytest.mark.slow
@pytest.mark.once
def test_every_cell_predicts_the_same_in_a_fresh_process(tmp_path):
    expected = {}
    for info in kcells.list_cells():
        subject, _ = next(planned(Target(info.qualified_id), seed=0))
        model = functional(subject.layer(), subject.inputs)
        name = info.qualified_id.replace(":", "-")
        model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", *keras.tree.flatten(subject.inputs))
        expected[name] = keras.tree.flatten(model(subject.inputs))
    assert len(expected) > 50
    loaded = run_python(FRESH, tmp_path, cwd=tmp_path).split()
    assert set(loaded) == set(expected)
    for name, leaves in expected.items():
        with np.load(tmp_path / f"{name}.outputs.npz") as outputs:
            assert len(outputs) == len(leaves)
            for k, leaf in enumerate(leaves):
                wanted = keras.ops.convert_to_numpy(leaf)
                np.testing.assert_allclose(
                    outputs[f"arr_{k}"], wanted, rtol=1e-5, atol=1e-6, err_msg=name
                )
