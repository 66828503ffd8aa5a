"""Kernels that this machine lacks, so that everything around them is tested on it.

Without a GPU TensorFlow and JAX have no fused kernel at all. Here a stand-in takes the
place of the one function that would call cuDNN, with the weights laid out as cuDNN's
documents say, and the device is said to be a GPU. What runs on a real one is marked `gpu`.
"""

import importlib
import pathlib
import sys

import keras
import pytest

from kcells.engine import backends
from kcells.engine.kernels import KERNELS

sys.path.insert(0, str(pathlib.Path(__file__).parent))


# Not those of files that are written.
KERNELS_HERE = [k for k in KERNELS if k.backend == keras.backend.backend() and "" in k.files]


@pytest.fixture(params=[k.device for k in KERNELS_HERE])
def kernels(request, monkeypatch):
    """A machine of this backend that has fused kernels; the kernel that it has."""
    backend = keras.backend.backend()
    (kernel,) = (k for k in KERNELS_HERE if k.device == request.param)
    if request.param == "gpu":
        monkeypatch.setattr(backends.current(), "device", lambda tensor=None: "gpu")
        if backend == "tensorflow":
            cudnn_in_tensorflow = importlib.import_module("cudnn_in_tensorflow")
            cudnn_in_tensorflow.install(monkeypatch)
        if backend == "jax":
            importlib.import_module("cudnn_in_jax").install(monkeypatch)
    return kernel
