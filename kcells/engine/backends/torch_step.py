"""PyTorch: a step of a loop as a graph of its operations.

The graph holds operations alone, without Keras and without what Python did in between. Whatever of
a step it could not hold is found here, and named.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import torch
from keras import tree
from torch.autograd.function import BackwardCFunction
from torch.fx.experimental.proxy_tensor import make_fx

from kcells.engine.backends.torch_checkpoint import graph_behind
from kcells.types import Step, Structure

__all__ = ["Given", "ObstacleError", "because", "compare", "grouped", "traced_step"]


class ObstacleError(Exception):
    """A graph could not stand for a step; the message says why."""


class Given(NamedTuple):
    """All that goes into a step or a loop, flat.

    Attributes:
        carry: `(batch, ...)`.
        xs: inputs of one step, or sequences `(time, ...)`.
        learned: values of weights, and constants: the same at every step, with a gradient.
        others: the same at every step, without one.
    """

    carry: list[torch.Tensor]
    xs: list[torch.Tensor]
    learned: list[torch.Tensor]
    others: list[torch.Tensor]

    @property
    def flat(self) -> list[torch.Tensor]:
        """All leaves in a row."""
        return [leaf for group in self for leaf in group]

    def like(self, leaves: Sequence[torch.Tensor]) -> Given:
        """Other leaves in a row, in these groups."""
        return Given(*grouped(leaves, list(map(len, self))))


def grouped(leaves: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """Leaves in a row, in groups of these sizes."""
    rest = iter(leaves)
    return [list(itertools.islice(rest, size)) for size in sizes]


def traced_step(
    step: Step,
    carry: Structure,
    xs: Structure,
    first: Given,
    variables: tuple[Sequence[Any], Sequence[Any]],
) -> torch.fx.GraphModule:
    """A step as a graph that takes the leaves of `first` in a row.

    Args:
        step: see `base.Backend.scan`; so are `carry` and `xs`.
        first: the leaves of both for one step, and what else the step reaches for.
        variables: those whose values are the first in `first.learned` and in `first.others`.

    Raises:
        ObstacleError: if it could not stand for the step, or its gradient for that of the step.
    """

    def of_leaves(*leaves: torch.Tensor) -> list[torch.Tensor]:
        given = first.like(leaves)
        mapping = [
            *zip(variables[0], given.learned, strict=False),
            *zip(variables[1], given.others, strict=False),
        ]
        with keras.StatelessScope(mapping) as scope:
            # Not the values that went in: on a device with a number Keras takes copies.
            held = [scope.get_current_value(variable) for variable, _ in mapping]
            new, y = step(
                tree.pack_sequence_as(carry, given.carry), tree.pack_sequence_as(xs, given.xs)
            )
            now = [scope.get_current_value(variable) for variable, _ in mapping]
        known = {id(variable) for variable, _ in mapping}
        kept = all(one is other for one, other in zip(held, now, strict=True))
        if not kept or scope.state_mapping.keys() - known:
            raise ObstacleError("a step updates variables")
        return [*tree.flatten(new), *tree.flatten(y)]

    # What the step reaches for by itself has to be the very tensor, here and in the trace.
    sizes = [len(first.carry), len(first.xs)]
    for known, leaves in zip(variables, (first.learned, first.others), strict=True):
        sizes += [len(known), len(leaves) - len(known)]
    parts = grouped(first.flat, sizes)

    def other(made: Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]) -> list[torch.Tensor]:
        return [x for k, part in enumerate(parts) for x in (part if k in (3, 5) else made(part))]

    leaves = other(_new)
    with torch.enable_grad():
        results = of_leaves(*leaves)
    _check_gradient(results, leaves)
    with because("a step cannot be traced"), torch.no_grad():
        graph = make_fx(of_leaves)(*leaves)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    # Elsewhere: where it was traced, a number that Python has seen would be right.
    moved = other(_moved)
    with because("a step cannot be compared with its trace"):
        _check_graph(graph)
        compare(_differentiated(of_leaves, moved), _differentiated(graph, moved))
    return graph


@contextlib.contextmanager
def because(what: str) -> Iterator[None]:
    """Any error inside is an obstacle: the step itself has run, and can do without."""
    try:
        yield
    except ObstacleError:
        raise
    except Exception as error:
        raise ObstacleError(f"{what}: {type(error).__name__}: {_first_words(error)}") from error


def _new(leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Leaves of a graph of gradients with these numbers."""
    return [leaf.detach().requires_grad_(leaf.is_floating_point()) for leaf in leaves]


def _moved(leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The same with numbers nearby."""
    return _new([leaf * 0.9 + 0.05 if leaf.is_floating_point() else leaf for leaf in leaves])


def _first_words(error: Exception) -> str:
    """What an error says, without the words and colours that Keras puts around it."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    own = (line for line in lines if line and not line.startswith("Exception encountered"))
    return next(own, type(error).__name__).partition(". ")[0]


def _check_gradient(results: Sequence[torch.Tensor], leaves: Sequence[torch.Tensor]) -> None:
    """Looks for a gradient that a graph of operations would lose."""
    known = {id(leaf) for leaf in leaves}
    before = {leaf.grad_fn for leaf in leaves} - {None}
    for node in graph_behind(results, before):
        if isinstance(node, BackwardCFunction):
            raise ObstacleError(f"a step has a gradient of its own, {node.name()}")
        if hasattr(node, "variable") and id(node.variable) not in known:
            raise ObstacleError("a step reaches for a tensor that is none of its arguments")


def _check_graph(graph: torch.fx.GraphModule) -> None:
    """Looks for operations that would do another thing when they are done again."""
    for node in graph.graph.nodes:
        if node.op == "get_attr" and getattr(graph, node.target).requires_grad:
            raise ObstacleError("a step reaches for a tensor that is none of its arguments")
        if node.op != "call_function":
            continue
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise ObstacleError(f"a step draws random numbers, {node.target}")
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable and _is_given(node.args[0]):
            raise ObstacleError(f"a step changes its arguments in place, {node.target}")


def _is_given(node: Any) -> bool:
    """Whether a node is an argument of its graph or something kept in it, or a view of one."""
    while node.op == "call_function":
        results = node.target._schema.returns if hasattr(node.target, "_schema") else ()
        if not any(result.alias_info for result in results):
            return False
        node = node.args[0]
    return True


def _differentiated(function: Any, leaves: Sequence[torch.Tensor]) -> list[Any]:
    """Results of `function(*leaves)`, and gradients of those leaves that have no history."""
    with torch.enable_grad():
        results = function(*leaves)
    sought = [leaf for leaf in leaves if leaf.requires_grad and leaf.is_leaf]
    live = [result for result in results if result.requires_grad]
    if not live or not sought:
        return [*results, *(None for _ in sought)]
    upstream = [torch.linspace(0.5, 1, x.numel()).to(x).view(x.shape) for x in live]
    # Nothing of the history of a constant may be used up: its own gradient is still to come.
    found = torch.autograd.grad(live, sought, upstream, allow_unused=True, retain_graph=True)
    return [*results, *found]


def compare(wanted: Sequence[Any], found: Sequence[Any]) -> None:
    """Raises `ObstacleError` where tensors differ by more than the order of operations explains."""
    if not all(itertools.starmap(_close, zip(wanted, found, strict=True))):
        raise ObstacleError("a trace of the step gives other numbers or gradients")


def _close(wanted: torch.Tensor | None, found: torch.Tensor | None) -> bool:
    if wanted is None or found is None:
        given = wanted if found is None else found
        return given is None or not bool(given.any())
    if not wanted.is_floating_point():
        return bool((wanted == found).all())
    tolerance = 1e-3 if wanted.dtype in (torch.float32, torch.float64) else 0.1
    scale = float(wanted.detach().abs().nan_to_num(0.0, 0.0, 0.0).max()) if wanted.numel() else 0.0
    return bool(torch.allclose(wanted, found, tolerance, tolerance * scale, equal_nan=True))
