"""Shared by all tests. Keras fixes its backend at import, so a process has one backend."""

import os

# Before anything imports JAX: without it JAX has no float64.
os.environ.setdefault("JAX_ENABLE_X64", "1")

import keras
import numpy as np
import pytest


@pytest.fixture
def backend() -> str:
    """The backend that this process tests."""
    return keras.backend.backend()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20161205)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Every test starts with the same random seed, default dtype and layer names."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in double precision, so that a comparison can be exact to 1e-10.

    On JAX and PyTorch, Keras' promotion rules turn the result of many ops on float64 into
    float32 (matmul on PyTorch, tanh on JAX), whatever the dtype policy says. Here that
    rule is lifted; it is a private table, and the tests alone touch it.
    """
    from keras.src.backend.common import dtypes

    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
