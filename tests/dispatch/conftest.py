"""Kernels that this machine lacks, so that everything around them is tested on it.

Without a GPU TensorFlow and JAX have no fused kernel at all. Here a stand-in takes the
place of the one function that would call cuDNN, with the weights laid out as cuDNN's
documents say, and the device is said to be a GPU. What runs on a real one is marked `gpu`.
"""

import pathlib
import sys

import keras
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "layers"))


@pytest.fixture(params=["cpu", "gpu"])
def kernels(request, monkeypatch):
    """Every fused kernel of the backend, as on a machine of this kind; the names of those
    built-ins that have one."""
    from kcells.engine import backends
    from kcells.engine.kernels import KERNELS

    backend = keras.backend.backend()
    there = [k for k in KERNELS if (k.backend, k.device) == (backend, request.param)]
    if not there:
        pytest.skip(f"{backend} has no kernels on a {request.param}")
    if request.param == "gpu":
        monkeypatch.setattr(backends.current(), "device", lambda tensor=None: "gpu")
        if backend == "tensorflow":
            import cudnn_in_tensorflow

            cudnn_in_tensorflow.install(monkeypatch)
        if backend == "jax":
            import cudnn_in_jax

            cudnn_in_jax.install(monkeypatch)
    return there[0].builtins
