"""JAX: products of inputs with weights, found in the jaxpr of a step, computed before the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from kcells.engine.products import InputProduct, are_possible, pays

__all__ = ["with_products_ahead"]

Body = Callable[[Any, list[Any]], Any]


def with_products_ahead(
    body: Body,
    first: Any,
    xs: list[Any],
    training: bool,
    note: Callable[[Sequence[InputProduct]], None],
) -> tuple[Body, list[Any]]:
    """A loop whose large products of inputs alone are sequences like any other.

    Args:
        body: `(state, x) -> (state, y)`, in flat lists of arrays.
        first: the first state.
        xs: the sequences, `(time, batch, ...)`.
        training: whether a backward pass is to come.
        note: is told which products are computed before the loop.

    Returns:
        A body and its sequences: those that were given, if no product pays.
    """
    if not are_possible([x.shape[1:] for x in xs], training):
        note([])
        return body, xs
    leaves, structure = jax.tree.flatten(first)
    example = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in xs]

    def flat(*arrays: Any) -> Any:
        state = jax.tree.unflatten(structure, arrays[: len(leaves)])
        return body(state, list(arrays[len(leaves) :]))

    specs = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*specs, *example)
    inputs = closed.jaxpr.invars[len(leaves) :]
    found = _products(closed, inputs, training)
    note([product for _, product in found])
    chosen = [eqn for eqn, _ in found]
    if not chosen:
        return body, xs
    products = [eqn.outvars[0] for eqn in chosen]
    ahead = _part(closed, inputs, products)
    known = [*closed.jaxpr.invars, *products]
    rest = _part(closed, known, closed.jaxpr.outvars, with_effects=True)
    results = jax.tree.structure(shapes)

    def without(state: Any, x: list[Any]) -> Any:
        return jax.tree.unflatten(results, rest(*jax.tree.leaves(state), *x))

    return without, [*xs, *jax.vmap(ahead)(*xs)]


def _products(
    closed: ClosedJaxpr,
    inputs: Sequence[Var],
    training: bool,
) -> list[tuple[JaxprEqn, InputProduct]]:
    """The products of inputs alone, with what is the same at every step, that pay."""
    same, of_inputs = set(closed.jaxpr.constvars), set(inputs)
    chosen = []
    for eqn in closed.jaxpr.eqns:
        given = [var for var in eqn.invars if not isinstance(var, Literal)]
        if eqn.effects or not of_inputs.union(same).issuperset(given):
            continue
        into = same if same.issuperset(given) else of_inputs
        into.update(eqn.outvars)
        weights = [math.prod(var.aval.shape) for var in given if var in same]
        if eqn.primitive.name == "dot_general" and into is of_inputs and weights:
            product = InputProduct(weights[0], math.prod(eqn.outvars[0].aval.shape))
            if pays(product, training):
                chosen.append((eqn, product))
    return chosen


def _part(
    closed: ClosedJaxpr,
    inputs: Sequence[Var],
    results: Sequence[Any],
    *,
    with_effects: bool = False,
) -> Callable[..., list[Any]]:
    """What of a program leads from some of its numbers to others, as a function.

    Args:
        closed: the program.
        inputs: what the function takes.
        results: what it gives.
        with_effects: whether it does what nothing hangs on, such as printing.
    """
    known, wanted, eqns = set(inputs), set(_variables(results)), []
    for eqn in reversed(closed.jaxpr.eqns):
        found = wanted.intersection(eqn.outvars)
        if (with_effects and eqn.effects) or found - known:
            eqns.append(eqn)
            wanted.update(_variables(eqn.invars))
    part = closed.jaxpr.replace(
        invars=list(inputs), outvars=list(results), eqns=eqns[::-1], debug_info=None
    )
    function: Callable[..., list[Any]] = jaxpr_as_fun(ClosedJaxpr(part, closed.consts))
    return function


def _variables(atoms: Sequence[Any]) -> list[Var]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]
