"""Shared by the tests of kcells and of the plugins in this repository.

Keras fixes its backend at import, so a process tests one backend.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

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
def _fresh_keras() -> Iterator[None]:
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


@pytest.fixture
def gradients() -> Callable[..., tuple[list[np.ndarray], list[np.ndarray]]]:
    """A function for gradients on the backend of the process; see `_gradients`."""
    return _gradients


def _gradients(
    loss: Callable[[list[Any]], Any], variables: list[Any], arrays: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """d loss(arrays) / d variables and / d arrays, as NumPy arrays."""
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    both = _BY_BACKEND[keras.backend.backend()](loss, variables, tensors)
    numbers = [keras.ops.convert_to_numpy(gradient) for gradient in both]
    return numbers[: len(variables)], numbers[len(variables) :]


def _tensorflow_gradients(loss: Any, variables: list[Any], tensors: list[Any]) -> list[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = loss(tensors)
    return tape.gradient(value, [v.value for v in variables] + tensors)


def _jax_gradients(loss: Any, variables: list[Any], tensors: list[Any]) -> list[Any]:
    import jax

    def function(values: list[Any], tensors: list[Any]) -> Any:
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return loss(tensors)

    values = [v.value for v in variables]
    first, second = jax.jit(jax.grad(function, argnums=(0, 1)))(values, tensors)
    return [*first, *second]


def _torch_gradients(loss: Any, variables: list[Any], tensors: list[Any]) -> list[Any]:
    import torch

    tensors = [tensor.detach().requires_grad_(True) for tensor in tensors]
    return list(torch.autograd.grad(loss(tensors), [v.value for v in variables] + tensors))


_BY_BACKEND = {
    "tensorflow": _tensorflow_gradients,
    "jax": _jax_gradients,
    "torch": _torch_gradients,
}


@pytest.fixture
def finite_differences() -> Callable[[Callable[[], float], np.ndarray], np.ndarray]:
    """A function for central differences; see `_finite_differences`."""
    return _finite_differences


def _finite_differences(function: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """The derivative of `function` with respect to every entry of `array`, which it reads."""
    gradient, step = np.zeros_like(array), 1e-6
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = kept
    return gradient
