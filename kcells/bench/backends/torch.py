"""In PyTorch: bare products, and the layers of torch.nn and torchrecurrent, by themselves.

Layers of Keras and modules of torch are compared in the workload `layer`: a forward and a
backward pass, without an optimizer or a model of Keras on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kcells.bench.timing import Loop, Step

__all__ = ["products", "torch_nn", "torchrecurrent_layer", "train_alone"]


def products(shapes: Sequence[tuple[int, int]], batch: int, steps: int) -> Loop:
    """Multiplies `(batch, rows)` by `(rows, columns)` `steps` times, for all shapes."""
    import torch

    rng = np.random.default_rng(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensor(*shape: int) -> torch.Tensor:
        return torch.tensor(rng.normal(size=shape), dtype=torch.float32, device=device)

    triples = [(tensor(batch, r), tensor(r, c), tensor(batch, c)) for r, c in shapes]

    def multiply(repeats: int) -> None:
        with torch.no_grad():
            for _ in range(steps * repeats):
                for x, w, out in triples:
                    torch.mm(x, w, out=out)
        _wait()

    return Loop(multiply)


def train_alone(call: Callable[[Any], Any], x: Any) -> Step:
    """A forward and a backward pass; `call` gives the outputs of all steps."""

    def step() -> None:
        call(x).sum().backward()
        _wait()

    return step


def torch_nn(name: str, units: int, x: Any) -> Step:
    """The layer of torch.nn whose class has this name."""
    import torch

    return _module(getattr(torch.nn, name), units, x)


def torchrecurrent_layer(name: str, units: int, x: Any) -> Step:
    """The layer of torchrecurrent whose class has this name.

    Theirs have a bias more here and there; the products are the same.

    Raises:
        ImportError: if torchrecurrent is not installed.
    """
    import torchrecurrent

    return _module(getattr(torchrecurrent, name), units, x)


def _module(cls: Any, units: int, x: Any) -> Step:
    module = cls(x.shape[-1], units, batch_first=True).to(x.device)
    return train_alone(lambda x: module(x)[0], x)


def _wait() -> None:
    """A GPU works behind the back of Python."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
