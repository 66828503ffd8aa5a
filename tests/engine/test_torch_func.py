"""The transforms of PyTorch: grad, vmap, jvp and their like."""

import numpy as np
import pytest
from calls_and_gradients import (
    close,
    on_torch,
)
from keras import layers, tree
from linear_cells import FEATURES, KINDS, Gated, built

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
        assert (layer._plan.path == "parallel") == (parallel == "auto")

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


# -- Where a kernel would run, or the backward pass repeat steps

MASK = np.array([[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]], bool)

WITH_KERNELS = {
    "lstm": (lambda **options: kcells.build("lstm", 4, **options), False),
    "gru": (lambda **options: kcells.build("gru", 4, **options), True),
    "both directions": (
        lambda **options: kcells.Bidirectional(kcells.build("gru", 3, **options)),
        True,
    ),
    "stack": (
        lambda **options: kcells.RNN(
            [layers.LSTMCell(FEATURES), Gated(), layers.GRUCell(2)], dispatch="auto", **options
        ),
        False,
    ),
    "repeated": (
        lambda **options: kcells.RNN(layers.GRUCell(3), checkpoint=2, **options),
        False,
    ),
}
on_each = pytest.mark.parametrize(
    ("make", "masked"), WITH_KERNELS.values(), ids=WITH_KERNELS.keys()
)


class Function:
    """A layer as functions of its inputs and of its weights, for the transforms."""

    def __init__(self, layer, masked):
        import torch

        self.layer = layer
        self.mask = torch.tensor(MASK) if masked else None
        layer.build((BATCH, TIME, FEATURES))
        self.weights = [v.value.detach() for v in layer.trainable_variables]
        self.rest = [v.value for v in layer.non_trainable_variables]

    def __call__(self, x):
        return self._flat(self.layer(x, mask=self.mask))

    def loss(self, x):
        return self(x).sum()

    def of_weights(self, weights, x, mask=None):
        mask = self.mask if mask is None else mask
        outputs, _ = self.layer.stateless_call(weights, self.rest, x, mask=mask)
        return self._flat(outputs)

    def _flat(self, outputs):
        import torch

        return torch.cat([leaf.sin().flatten(1) for leaf in tree.flatten(outputs)], -1)

    def jacobian(self, x):
        """One row after the other, by what every layer is trained with."""
        import torch

        x = x.clone().requires_grad_()
        y = self(x)
        rows = [torch.autograd.grad(one, x, retain_graph=True)[0] for one in y.flatten()]
        return torch.stack(rows).reshape(*y.shape, *x.shape)


@on_torch
@on_each
def test_transforms_of_the_inputs(float64, rng, make, masked):
    import torch
    from torch.autograd import forward_ad

    function = Function(make(return_sequences=masked), masked)
    many, tangents = (torch.tensor(rng.normal(size=(2, BATCH, TIME, FEATURES))) for _ in range(2))
    x, tangent = many[0], tangents[0]
    jacobian = function.jacobian(x)
    along = (jacobian * tangent).flatten(2).sum(-1)
    close(torch.func.jacrev(function)(x), jacobian)
    close(torch.func.jacfwd(function)(x), jacobian)
    close(torch.func.jvp(function, (x,), (tangent,))[1], along)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(function(forward_ad.make_dual(x, tangent)))
    close(dual.tangent, along)
    close(torch.vmap(function)(many), torch.stack([function(one) for one in many]))
    gradients = [function.jacobian(one).flatten(0, 1).sum(0) for one in many]
    close(torch.func.grad(function.loss)(x), gradients[0])
    close(torch.vmap(torch.func.grad(function.loss))(many), torch.stack(gradients))


@on_torch
@on_each
def test_many_gradients_at_once(float64, rng, make, masked):
    import torch

    function = Function(make(return_sequences=masked), masked)
    x = torch.tensor(rng.normal(size=(BATCH, TIME, FEATURES))).requires_grad_()
    y = function(x)
    rows = torch.eye(y.numel()).reshape(-1, *y.shape)
    (found,) = torch.autograd.grad(y, x, rows, is_grads_batched=True)
    close(found.reshape(*y.shape, *x.shape), function.jacobian(x.detach()))


@on_torch
@on_each
def test_transforms_of_the_weights(float64, rng, make, masked):
    """An ensemble of layers, and a gradient for each sample."""
    import torch

    function = Function(make(return_sequences=masked), masked)
    x = torch.tensor(rng.normal(size=(BATCH, TIME, FEATURES)))
    ensemble = [w + 0.1 * torch.randn(3, *w.shape, dtype=w.dtype) for w in function.weights]
    members = [[w[k] for w in ensemble] for k in range(3)]
    together = torch.vmap(function.of_weights, in_dims=(0, None))(ensemble, x)
    close(together, torch.stack([function.of_weights(weights, x) for weights in members]))

    mask = torch.tensor(MASK) if masked else torch.ones(BATCH, TIME, dtype=torch.bool)

    def loss(weights, one, its_mask):
        return function.of_weights(weights, one[None], its_mask[None]).sum()

    def by_autograd(k):
        weights = [w.clone().requires_grad_() for w in function.weights]
        return torch.autograd.grad(loss(weights, x[k], mask[k]), weights)

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(function.weights, x, mask)
    wanted = zip(*(by_autograd(k) for k in range(BATCH)), strict=True)
    close(each, [torch.stack(gradients) for gradients in wanted])


@on_torch
def test_explain_inside_of_a_transform():
    import torch

    layer = kcells.build("gru", 4)
    x = torch.ones(BATCH, TIME, FEATURES)
    explained = []

    def explain(x):
        explained.append(kcells.explain(layer, x))
        return layer(x).sum()

    explain(x)
    torch.func.grad(explain)(x)
    assert [one.kernel for one in explained] == ["native", "loop"]
    conditions = [
        {r.condition for r in one.reasons if not r.holds and "transform" in r.condition}
        for one in explained
    ]
    assert conditions == [set(), {"no transform looks inside of the call"}]


# -- A gradient of a gradient


@on_torch
@pytest.mark.parametrize("kind", ["gru", "repeated"])
def test_a_state_that_comes_from_the_weights_counts_once(float64, rng, kind):
    """What a call starts from came out of another one, or a block out of the one before."""
    import torch

    cell = layers.GRUCell(3)
    options = {"return_state": True, "return_sequences": True}
    policy = {"dispatch": "auto"} if kind == "gru" else {"checkpoint": 2}
    layer, plain = kcells.RNN(cell, **policy, **options), kcells.RNN(cell, **options)
    x = torch.tensor(rng.normal(size=(BATCH, TIME, FEATURES)))
    plain(x)

    def second(layer):
        weights = [v.value for v in cell.trainable_variables]
        _, state = layer(x)
        outputs, _ = layer(x, initial_state=state)
        first = torch.autograd.grad(outputs.sin().sum(), weights, create_graph=True)
        return torch.autograd.grad(sum(g.sin().sum() for g in first), weights)

    close(second(layer), second(plain))
