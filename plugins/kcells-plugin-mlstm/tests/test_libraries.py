"""The multiplicative LSTM against torchrecurrent's."""

import keras
import numpy as np
import pytest
from multiplicative_helpers import BATCH, FEATURES, TIME, UNITS, as_numpy, make_layer

from kcells_plugin_mlstm import MultiplicativeLSTMCell


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a library of PyTorch")
def test_the_cell_of_torchrecurrent(rng):
    """Their blocks are m, i, f, u, o; ours i, f, u, o, m. Biases at zero but the four of ours."""
    library = pytest.importorskip("torchrecurrent")
    import torch

    layer = make_layer(rng, MultiplicativeLSTMCell, dtype="float32")
    w = {weight.name: as_numpy(weight) for weight in layer.weights}
    theirs = {
        "weight_ih": np.roll(w["kernel"], UNITS, axis=1).T,
        "weight_hh": w["multiplicative_kernel"].T,
        "weight_mh": w["recurrent_kernel"].T,
        "bias_mh": w["bias"],
    }
    module = library.MultiplicativeLSTMCell(FEATURES, UNITS)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.tensor(theirs.get(name, np.zeros(parameter.shape))))
    sequences = rng.normal(size=(BATCH, TIME, FEATURES)).astype("float32")
    h, c = (torch.tensor(rng.normal(size=(BATCH, UNITS)), dtype=torch.float32) for _ in "hc")
    start, outputs = [h, c], []
    for x in torch.tensor(sequences).unbind(1):
        h, c = module(x, (h, c))
        outputs.append(h)
    expected = [torch.stack(outputs, 1), h, c]
    for ours, other in zip(layer(sequences, initial_state=start), expected, strict=True):
        np.testing.assert_allclose(as_numpy(ours), as_numpy(other.detach()), rtol=0, atol=1e-5)
