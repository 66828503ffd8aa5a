"""The scan of PyTorch and its gradient: first and second derivatives, against differences."""

import dataclasses

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("about the PyTorch backend", allow_module_level=True)

import torch

from kcells.engine.backends import torch_linear
from kcells.engine.backends.torch_linear import LinearScan


def arguments(length, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(length, 2, 2), (length, 2, 2), (2, 2)]
    return [
        torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes
    ]


@pytest.fixture(params=[2**11, 0], ids=["blocks", "in turn"])
def many(request, monkeypatch):
    chosen = dataclasses.replace(torch_linear.THRESHOLDS, torch_blocks=request.param)
    monkeypatch.setattr(torch_linear, "THRESHOLDS", chosen)


@pytest.mark.parametrize("from_the_end", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 9, 12, 50])
def test_values(many, length, dtype, from_the_end):
    a, b, first = arguments(length, dtype)
    h = LinearScan.apply(a, b, first, from_the_end).detach().numpy()
    a, b, state = (x.detach().numpy() for x in (a, b, first))
    for t in reversed(range(length)) if from_the_end else range(length):
        state = a[t] * state + b[t]
        np.testing.assert_allclose(h[t], state, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("from_the_end", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("length", [1, 2, 4, 7])
def test_first_and_second_derivatives(many, length, dtype, from_the_end):
    def scan(a, b, first):
        return LinearScan.apply(a, b, first, from_the_end)

    given = arguments(length, dtype)
    assert torch.autograd.gradcheck(scan, given)
    assert torch.autograd.gradgradcheck(scan, given)


def test_arguments_are_left_alone():
    given = arguments(9, torch.complex128)
    before = [x.detach().clone() for x in given]
    # Conjugates are views that have not been computed yet.
    LinearScan.apply(*(x.conj() for x in given), False).abs().sum().backward()
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))
    other = [x.detach().conj().resolve_conj().requires_grad_() for x in given]
    LinearScan.apply(*other, False).abs().sum().backward()
    for x, y in zip(given, other, strict=True):
        assert torch.allclose(x.grad, y.grad.conj(), rtol=1e-12)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_a_gradient_of_one_alone(needed):
    whole = arguments(7, torch.float64)
    LinearScan.apply(*whole, False).sin().sum().backward()
    given = [x.detach().requires_grad_(k == needed) for k, x in enumerate(whole)]
    LinearScan.apply(*given, False).sin().sum().backward()
    assert torch.equal(given[needed].grad, whole[needed].grad)
    assert all(x.grad is None for k, x in enumerate(given) if k != needed)
