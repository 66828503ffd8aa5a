"""The transforms of PyTorch: grad, vmap, jvp and their like."""

import pytest
from calls_and_gradients import (
    close,
    on_torch,
)
from keras import tree
from linear_cells import FEATURES, KINDS, built

import kcells

BATCH, TIME = 3, 6


# -- torch.func


@on_torch
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [True, False])
def test_transforms_of_torch(float64, rng, kind, sequences):
    import torch

    cell = built(KINDS[kind]())
    many, tangent = (torch.tensor(rng.normal(size=(2, BATCH, TIME, FEATURES))) for _ in range(2))
    x, tangent = many[0], tangent[0]

    def found(parallel):
        layer = kcells.RNN(cell, return_sequences=sequences, parallel=parallel)
        assert (layer.plan.path == "parallel") == (parallel == "auto")

        def flat(x):
            return torch.cat([leaf.sin().flatten(1) for leaf in tree.flatten(layer(x))], -1)

        def loss(x):
            return flat(x).sum()

        return [
            torch.func.grad(loss)(x),
            torch.func.grad(lambda x: torch.func.grad(loss)(x).sin().sum())(x),
            torch.vmap(flat)(many),
            torch.vmap(flat, in_dims=-1)(many.movedim(0, -1)),
            torch.vmap(torch.func.grad(loss))(many),
            *torch.func.jvp(flat, (x,), (tangent,)),
            torch.func.jacrev(flat)(x),
            torch.func.jacfwd(flat)(x),
        ]

    close(found("auto"), found("never"))


@on_torch
@pytest.mark.parametrize("from_the_end", [False, True])
@pytest.mark.parametrize("batched", [0, 1, 2])
def test_one_argument_alone_in_the_scan_of_torch(batched, from_the_end):
    """It alone has the extra axis, or the tangent."""
    import torch

    from kcells.engine.backends.torch_linear import LinearScan

    torch.manual_seed(0)
    given = [torch.randn(s, dtype=torch.float64) for s in ((5, 2, 3), (5, 2, 3), (2, 3))]
    many = torch.randn((4, *given[batched].shape), dtype=torch.float64)

    def scan(one):
        arguments = [*given[:batched], one, *given[batched + 1 :]]
        return LinearScan.apply(*arguments, from_the_end)

    close(torch.vmap(scan)(many), torch.stack([scan(one) for one in many]))
    close(torch.vmap(scan, in_dims=1)(many.movedim(0, 1)), torch.vmap(scan)(many))

    def gradient(one):
        return torch.func.grad(lambda one: scan(one).sin().sum())(one)

    close(torch.vmap(gradient)(many), torch.stack([gradient(one) for one in many]))
    backwards, forwards = (f(scan)(many[0]) for f in (torch.func.jacrev, torch.func.jacfwd))
    close(backwards, forwards)
