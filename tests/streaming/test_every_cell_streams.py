"""Every installed cell gives, one step at a time, what it gives for the sequence."""

import numpy as np
import pytest
from keras import ops, tree

import kcells
from kcells.testing.models import functional
from kcells.testing.runner import planned
from kcells.testing.target import Target


@pytest.mark.one_in(12)
@pytest.mark.parametrize("name", [info.qualified_id for info in kcells.list_cells()])
def test_a_cell_streams(name):
    subject, _ = next(planned(Target(name), seed=0))
    model = functional(subject.layer(), subject.inputs)
    stream = kcells.to_streaming(model)
    leaves = tree.flatten(subject.inputs)
    states = stream.initial_states(len(leaves[0]))
    found = []
    for t in range(leaves[0].shape[1]):
        step = tree.map_structure(lambda leaf, t=t: leaf[:, t], subject.inputs)
        result = stream({"inputs": step, "states": states})
        states = result["states"]
        found.append([ops.convert_to_numpy(leaf) for leaf in tree.flatten(result["outputs"])])
    wanted = tree.flatten(model(tree.map_structure(ops.convert_to_tensor, subject.inputs)))
    for ours, theirs in zip(zip(*found, strict=True), wanted, strict=True):
        whole = ops.convert_to_numpy(theirs)
        np.testing.assert_allclose(np.stack(ours, axis=1), whole, rtol=1e-4, atol=1e-5)
