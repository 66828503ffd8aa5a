"""Which path a layer takes, and why: decided from data, before anything runs.

    may the built-in stand in?   the cell's equivalence, its arguments, the layer's options
      yes -> fused, by the kernel that this backend has on this device for this dtype;
             where it has none, by the loop
    is the cell linear in its state?
      yes -> parallel
      no  -> loop, or unrolled

A wrapper that acts on single steps has the path of the cell inside of it.

No mask stands in the way of a kernel: `fused.py` moves the steps that count to the front.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal, TypeAlias

from kcells.engine import conditions
from kcells.engine.facts import CallFacts, CellFacts
from kcells.engine.kernels import Kernel, KernelName, Machine, kernel_for
from kcells.engine.options import Options
from kcells.reasons import Reason

__all__ = ["Path", "Plan", "choose"]

Path: TypeAlias = Literal["fused", "parallel", "loop", "unrolled"]
"""How the time loop is run: by a built-in layer and its kernels, by an associative
scan, by a loop of the backend, or step after step in the graph."""

_ANY_CALL = CallFacts()


@dataclasses.dataclass(frozen=True)
class Plan:
    """A path and the reasons for it.

    Attributes:
        path: the path.
        kernel: what runs it.
        fused: the fused kernel, if one runs.
        hoists: whether the input side of all steps is computed before the loop.
        compiles: whether the loop is to be compiled by itself.
        machine: what it was chosen for.
        required: the conditions under which a built-in may stand in.
        reasons: every condition that was looked at.
        members: the plans for the cells of a stack that run one after the other, each over
            the whole sequence, or for the cell in a wrapper; empty where the cell runs as a whole.
        wraps: whether it is one for a wrapper.
        seeks_products: whether the backend looks for products of the inputs alone that are
            better computed before the loop.
    """

    path: Path
    kernel: KernelName
    fused: Kernel | None
    hoists: bool
    compiles: bool
    machine: Machine
    required: tuple[Reason, ...]
    reasons: tuple[Reason, ...]
    members: tuple[Plan, ...] = ()
    wraps: bool = False
    seeks_products: bool = False

    @property
    def calls_kernel(self) -> bool:
        """Whether a fused kernel runs, rather than single steps."""
        return self.fused is not None

    @property
    def both_directions(self) -> bool:
        """Whether the kernel can run two layers at once, one a direction."""
        return self.fused is not None and self.fused.both_directions

    @property
    def under_xla(self) -> bool:
        """Whether the call may be part of a graph that XLA compiles."""
        own = self.fused is None or self.fused.under_xla
        return own and all(member.under_xla for member in self.members)


@functools.lru_cache(maxsize=1024)
def choose(
    cell: CellFacts, options: Options, machine: Machine, call: CallFacts = _ANY_CALL
) -> Plan:
    """Chooses the path for a layer.

    Examples:

    >>> gru = CellFacts("gru")
    >>> on_torch = choose(gru, Options(dispatch="auto"), Machine("torch"))
    >>> on_torch.path, on_torch.kernel
    ('fused', 'native')
    >>> unrolled = choose(gru, Options(dispatch="auto", unroll=True), Machine("torch"))
    >>> unrolled.path, [r.condition for r in unrolled.reasons if not r.holds][0]
    ('unrolled', 'the loop is not unrolled')
    """
    if cell.device:
        machine = dataclasses.replace(machine, device=cell.device)
    # What goes into a cell that is part of another has other sizes.
    inside = dataclasses.replace(call, features=0, batch=0)
    members = tuple(choose(member, options, machine, inside) for member in cell.members)
    if cell.wraps:
        found = () if call.mask == "none" else conditions.sorting(machine)
        if conditions.all_hold(found):
            return _around(members[0])
        path: Path = "unrolled" if options.unroll else "loop"
        return _by_steps(path, cell, options, machine, call, members[0].required, found)
    if any(member.path in ("fused", "parallel") for member in members):
        return _one_after_the_other(members, machine)
    required = conditions.substitution(cell, options, call)
    if conditions.all_hold(required):
        wanted = conditions.of_kernels(options, call)
        kernel = kernel_for(cell.builtin, machine) if conditions.all_hold(wanted) else None
        asked = (*required, *wanted, *conditions.on_machine(cell, machine, kernel, call.mask))
        if kernel is None:
            return _by_steps("fused", cell, options, machine, call, required, asked)
        return Plan("fused", kernel.name, kernel, False, False, machine, required, asked)
    whole = conditions.at_once(cell, options, call)
    if cell.is_linear:
        whole += conditions.pays_at_once(machine, call)
        whole += conditions.sorting(machine) if call.mask != "none" else ()
    asked = (*required, *whole)
    if cell.is_linear and conditions.all_hold(whole):
        # The scan takes no step of the cell, so nothing in one could stand in its way.
        compiling = conditions.compiling(options, machine, "", scans=True)
        compiles = conditions.all_hold(compiling)
        return Plan(
            "parallel",
            "linear_scan",
            fused=None,
            hoists=False,
            compiles=compiles,
            machine=machine,
            required=required,
            reasons=(*asked, *compiling),
        )
    path = "unrolled" if options.unroll else "loop"
    return _by_steps(path, cell, options, machine, call, required, asked)


def _by_steps(
    path: Path,
    cell: CellFacts,
    options: Options,
    machine: Machine,
    call: CallFacts,
    required: tuple[Reason, ...],
    asked: tuple[Reason, ...],
) -> Plan:
    """The plan for single steps of the cell."""
    hoisting = conditions.hoisting(cell, options, call, machine)
    compiling = conditions.compiling(options, machine, call.obstacle)
    repeating = conditions.repeating(options, machine)
    hoists = conditions.all_hold(hoisting)
    # Where the whole input side is computed before the loop there is nothing left to find.
    seeking = () if hoists else conditions.seeking_products(options, machine)
    return Plan(
        path,
        "unrolled" if path == "unrolled" else "loop",
        fused=None,
        hoists=hoists,
        compiles=path != "unrolled" and conditions.all_hold(compiling),
        machine=machine,
        required=required,
        reasons=(*asked, *hoisting, *seeking, *conditions.found(call), *compiling, *repeating),
        seeks_products=bool(seeking) and conditions.all_hold(seeking),
    )


def _around(inner: Plan) -> Plan:
    """The plan for a wrapper: that of the cell inside, and what is around it in one go."""
    because = Reason("what is around the cell sees single steps and no states", True)
    return dataclasses.replace(
        inner,
        fused=None,
        hoists=False,
        compiles=False,
        reasons=(because, *inner.reasons),
        members=(inner,),
        wraps=True,
    )


def _one_after_the_other(members: tuple[Plan, ...], machine: Machine) -> Plan:
    """The plan for a stack whose cells run one after the other, over the whole sequence."""

    def of_all(name: str) -> tuple[Reason, ...]:
        return tuple(
            dataclasses.replace(reason, condition=f"cell {k}: {reason.condition}")
            for k, member in enumerate(members)
            for reason in getattr(member, name)
        )

    paths, kernels = ({getattr(m, name) for m in members} for name in ("path", "kernel"))
    because = Reason(
        "the cells run one after the other",
        True,
        ", ".join(f"cell {k}: {member.path}" for k, member in enumerate(members)),
    )
    return Plan(
        members[0].path if len(paths) == 1 else "loop",
        members[0].kernel if len(kernels) == 1 else "loop",
        fused=None,
        hoists=False,
        compiles=False,
        machine=machine,
        required=of_all("required"),
        reasons=(because, *of_all("reasons")),
        members=members,
    )
