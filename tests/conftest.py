"""Shared by all tests. Keras fixes its backend at import, so a process has one backend."""

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
