"""PyTorch: which loops are compiled, and when; and the programs that are kept for them.

Compiling takes some seconds and pays only for a loop that runs for longer than that. A loop is
therefore compiled when calls like it have taken as long: whatever comes after, the whole takes no
more than about twice what it would at best.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from keras import tree

from kcells.cells.attributes import snapshot
from kcells.cells.variables import current_value
from kcells.engine.backends.base import Settings
from kcells.engine.backends.torch_blocks import BLOCK, Sought, block_of
from kcells.engine.backends.torch_own_loop import OwnLoop, detached
from kcells.engine.backends.torch_products import Split, products_ahead
from kcells.engine.backends.torch_step import Given, ObstacleError, because, traced_step
from kcells.engine.thresholds import THRESHOLDS
from kcells.types import Step, Structure

__all__ = ["scan_compiled"]

_MOST_KINDS = 64
"""Kinds of calls whose time is added up for one cell."""

_MOST_PROGRAMS = 8
"""Programs for one cell: sizes and options that come up again and again."""

_Scan = Callable[[], tuple[Structure, Structure]]


@dataclasses.dataclass
class _Kind:
    """Calls of one cell that one program can serve.

    Attributes:
        seconds: what they have taken without one.
        loop: the program.
        obstacle: why there can be none.
    """

    seconds: float = 0.0
    loop: OwnLoop | None = None
    obstacle: str = ""


_KINDS: weakref.WeakKeyDictionary[Any, OrderedDict[Hashable, _Kind]] = weakref.WeakKeyDictionary()
_LOCK = threading.RLock()


def scan_compiled(
    step: Step,
    carry: Structure,
    xs: Structure,
    emits: Structure,
    variables: Sequence[Any],
    settings: Settings,
    plain: _Scan,
) -> tuple[Structure, Structure]:
    """See `base.Backend.scan`; by a program if there is one, or if it is time to make one.

    Args:
        plain: the same without one.
    """
    split = _split(variables)
    given = _given(carry, xs, split, settings)
    constants = (constant for constant in settings.constants if constant is not None)
    if not all(map(_is_plain, (*given.flat, *constants))):
        return plain()
    kind = _kind(settings, _key(given, carry, xs, split, settings))
    is_time = settings.compiles_at_once or kind.seconds >= THRESHOLDS.torch_compile_seconds
    if kind.loop is None and (kind.obstacle or not is_time):
        settings.note(kind.obstacle)
        return _timed(plain, kind)
    if settings.project is not None:
        xs = settings.project(xs)
        given = _given(carry, xs, split, settings)
    loop = _made(kind, step, carry, xs, given, split, settings)
    settings.note(kind.obstacle)
    if loop is None:
        return plain()
    if settings.ahead is not None:
        settings.ahead([] if loop.split is None else loop.split.products)
    last, ys = loop.run(given)
    return tree.pack_sequence_as(carry, last), tree.pack_sequence_as(emits, ys)


_Variables = tuple[list[Any], list[Any]]


def _split(variables: Sequence[Any]) -> _Variables:
    """Variables with a gradient, and those without."""
    return [v for v in variables if v.trainable], [v for v in variables if not v.trainable]


def _given(carry: Structure, xs: Structure, split: _Variables, settings: Settings) -> Given:
    learned, others = ([current_value(v) for v in some] for some in split)
    for constant in settings.constants:
        if isinstance(constant, torch.Tensor):
            (learned if constant.is_floating_point() else others).append(constant)
    others.extend(settings.fixed)
    return Given(tree.flatten(carry), tree.flatten(xs), learned, others)


def _is_plain(leaf: Any) -> bool:
    """Whether a tensor is what it seems, and not one that stands for others."""
    return type(leaf) in (torch.Tensor, torch.nn.Parameter) and leaf.layout == torch.strided


def _key(
    given: Given, carry: Structure, xs: Structure, split: _Variables, settings: Settings
) -> Hashable:
    """What tells one program for a cell from another."""
    reached = [id(leaf) for leaf in (*settings.constants, *settings.fixed)]
    leaves = [*given.carry, *given.xs, *given.learned, *given.others]
    lengths = range(len(given.carry), len(given.carry) + len(given.xs))
    specs = tuple(
        (
            leaf.shape[1:] if k in lengths else leaf.shape,
            leaf.dtype,
            leaf.device,
            leaf.requires_grad,
        )
        for k, leaf in enumerate(leaves)
    )
    return (
        settings.kind,
        torch.is_grad_enabled(),
        min(BLOCK, len(given.xs[0])),
        settings.checkpoint,
        tuple(tuple(path) for nest in (carry, xs) for path, _ in tree.flatten_with_path(nest)),
        specs,
        tuple(id(variable) for some in split for variable in some),
        # A trace takes a tensor that comes twice for one.
        tuple(map(reached.index, reached)),
        tuple(constant is None for constant in settings.constants),
        snapshot(settings.owner.cell, reached),
    )


def _kind(settings: Settings, key: Hashable) -> _Kind:
    with _LOCK:
        kinds = _KINDS.setdefault(settings.owner, OrderedDict())
        kind = kinds.pop(key, None) or _Kind()
        kinds[key] = kind
        if len(kinds) > _MOST_KINDS:
            kinds.popitem(last=False)
    return kind


def _timed(plain: _Scan, kind: _Kind) -> tuple[Structure, Structure]:
    start = time.perf_counter()
    results = plain()
    # The way back takes about twice as long as the way ahead.
    passes = 3 if torch.is_grad_enabled() else 1
    kind.seconds += passes * (time.perf_counter() - start)
    return results


def _made(
    kind: _Kind,
    step: Step,
    carry: Structure,
    xs: Structure,
    given: Given,
    split: _Variables,
    settings: Settings,
) -> OwnLoop | None:
    """The program of a kind, made now if there is none; None if there can be none."""
    with _LOCK:
        programs = sum(other.loop is not None for other in _KINDS[settings.owner].values())
        if kind.loop is None and programs >= _MOST_PROGRAMS:
            kind.obstacle = f"there are {programs} programs for other sizes and options already"
        if kind.loop is None and not kind.obstacle:
            try:
                kind.loop = _compiled(step, carry, xs, given, split, settings)
            except ObstacleError as error:
                kind.obstacle = str(error)
    return kind.loop


def _compiled(
    step: Step,
    carry: Structure,
    xs: Structure,
    given: Given,
    split: _Variables,
    settings: Settings,
) -> OwnLoop:
    first = given._replace(xs=[leaf[0] for leaf in given.xs])
    one = traced_step(step, carry, xs, first, split)
    both, taken = torch.is_grad_enabled(), None
    if settings.ahead is not None:
        one, taken, given = _without_products(one, first, given, both)
        first = given._replace(xs=[leaf[0] for leaf in given.xs])
    sought = _sought(one, given)
    steps, first = min(BLOCK, len(given.xs[0])), detached(first)
    with because("blocks of steps"), torch.no_grad():
        block, *example = block_of(one, first, sought, steps, both=both)
        blocks = [(steps, block.compiled(*example))]
        if steps > 1:
            blocks.append((1, block_of(one, first, sought, 1, both=both)[0]))
    return OwnLoop(one, tuple(blocks), sought, settings.checkpoint, taken)


def _without_products(
    one: torch.fx.GraphModule, first: Given, given: Given, training: bool
) -> tuple[torch.fx.GraphModule, Split | None, Given]:
    """A step, and what goes into its loop, with products of the inputs computed before it."""
    # What `vmap` cannot do for all steps the loop does at each.
    with contextlib.suppress(Exception):
        taken = products_ahead(one, first, training)
        if taken is not None:
            return taken.after, taken, taken.of_all_steps(given)
    return one, None, given


def _sought(one: torch.fx.GraphModule, given: Given) -> Sought:
    """What needs a gradient, of what the step uses."""
    places = (node for node in one.graph.nodes if node.op == "placeholder")
    used = given.like([bool(node.users) for node in places])
    xs, learned = (
        tuple(leaf.requires_grad and flag for leaf, flag in zip(leaves, flags, strict=True))
        for leaves, flags in ((given.xs, used.xs), (given.learned, used.learned))
    )
    return Sought(xs, learned)
