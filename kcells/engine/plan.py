"""Which path a layer takes, and why: decided from data, before anything runs.

    may the built-in stand in?   the cell's equivalence, its arguments, the layer's options
      yes -> fused, by the kernel that this backend has on this device for this dtype;
             where it has none, by the loop
    is the cell linear in its state?
      yes -> parallel
      no  -> loop, or unrolled

No mask stands in the way of a kernel: `fused.py` moves the steps that count to the front.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, TypeAlias

from kcells.cells.equivalence import BuiltinName, KernelFacts, is_keras_cell, kernel_facts
from kcells.cells.protocol import BoundCell
from kcells.engine.kernels import KERNELS, Kernel, KernelName, Machine, kernel_for
from kcells.reasons import Reason

__all__ = [
    "CellFacts",
    "LayerFacts",
    "MaskKind",
    "Path",
    "Plan",
    "choose",
    "facts_of",
    "may_fuse",
    "substitution",
]

Path: TypeAlias = Literal["fused", "parallel", "loop", "unrolled"]
"""How the time loop is run: by a built-in layer and its kernels, by an associative
scan, by a loop of the backend, or step after step in the graph."""

MaskKind: TypeAlias = Literal[
    "none", "right-padded", "left-padded", "with holes", "with a fully masked row", "not known yet"
]


@dataclasses.dataclass(frozen=True)
class CellFacts:
    """What the plan depends on in a cell.

    Attributes:
        builtin: the built-in layer that its author declares; None if there is none.
        conditions: the conditions that the declaration names, with their answers.
        kernel: the arguments that kernels ask about.
        is_keras: whether the cell is Keras' own, whose dropout is known.
        splits_step: whether the step has an input side that may be computed for the
            whole sequence at once.
        is_linear: whether all steps may be computed at once.
        members: the facts about the cells of a stack, the lowest first.
    """

    builtin: BuiltinName | None = None
    conditions: tuple[Reason, ...] = ()
    kernel: KernelFacts = dataclasses.field(default_factory=KernelFacts)
    is_keras: bool = True
    splits_step: bool = False
    is_linear: bool = False
    members: tuple[CellFacts, ...] = ()


def facts_of(cell: BoundCell) -> CellFacts:
    """What the plan depends on in a cell."""
    declared = cell.equivalence
    return CellFacts(
        declared.builtin,
        tuple(declared.conditions),
        kernel_facts(cell.cell, declared),
        is_keras_cell(cell.cell),
        cell.hoists,
        cell.is_linear,
        tuple(map(facts_of, cell.members)),
    )


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """What the plan depends on in a layer and a call.

    Attributes:
        dispatch: the layer's policy.
        unroll: the layer's option of that name.
        takes_constants: whether constants are passed to the cell.
        compile: the layer's policy for loops that are compiled by themselves.
        obstacle: what kept the loop from being compiled when it was last tried.
        tbptt: after how many steps the gradient is cut, if it is.
        checkpoint: whether the backward pass computes steps once more.
        parallel: the layer's policy for computing all steps at once.
    """

    dispatch: str = "never"
    unroll: bool = False
    takes_constants: bool = False
    compile: str = "auto"
    obstacle: str = ""
    tbptt: int | None = None
    checkpoint: bool | int = False
    parallel: str = "auto"


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
            the whole sequence; empty where the cell runs as a whole.
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
    cell: CellFacts, layer: LayerFacts, machine: Machine, mask: MaskKind = "not known yet"
) -> Plan:
    """Chooses the path for a layer.

    Examples:

    >>> gru = CellFacts("gru")
    >>> on_torch = choose(gru, LayerFacts("auto"), Machine("torch"))
    >>> on_torch.path, on_torch.kernel
    ('fused', 'native')
    >>> unrolled = choose(gru, LayerFacts("auto", unroll=True), Machine("torch"))
    >>> unrolled.path, [r.condition for r in unrolled.reasons if not r.holds][0]
    ('unrolled', 'the loop is not unrolled')
    """
    members = tuple(choose(member, layer, machine, mask) for member in cell.members)
    if any(member.path in ("fused", "parallel") for member in members):
        return _one_after_the_other(members, machine)
    substitutable = substitution(cell, layer)
    fuses = may_fuse(substitutable)
    kernel = kernel_for(cell.builtin, machine) if fuses else None
    at_once = _at_once(cell, layer)
    parallel = cell.is_linear and all(reason.holds for reason in at_once)
    path: Path = (
        "fused" if fuses else "parallel" if parallel else "unrolled" if layer.unroll else "loop"
    )
    loops: dict[Path, KernelName] = {"parallel": "linear_scan", "unrolled": "unrolled"}
    hoisting = () if path == "parallel" else _hoisting(cell, layer, machine)
    compiling = _compiling(layer, machine)
    reasons = (*substitutable, *(_machine(cell, machine, kernel, mask) if fuses else at_once))
    if kernel is None:
        reasons = (*reasons, *hoisting, *compiling)
    return Plan(
        path,
        kernel.name if kernel else loops.get(path, "loop"),
        kernel,
        hoists=kernel is None and all(reason.holds for reason in hoisting),
        compiles=kernel is None and all(reason.holds for reason in compiling),
        machine=machine,
        required=substitutable,
        reasons=reasons,
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


def _at_once(cell: CellFacts, layer: LayerFacts) -> tuple[Reason, ...]:
    """What has to hold so that all steps are computed at once."""
    linear = Reason("the cell is linear in its state", cell.is_linear)
    if cell.builtin is not None:
        # An LSTM, a GRU or a SimpleRNN: nobody would ask.
        return ()
    if not linear.holds:
        return (linear,)
    return (
        linear,
        Reason(
            "all steps may be computed at once",
            layer.parallel != "never",
            f"parallel={layer.parallel!r}",
        ),
        Reason("the loop is not to be written out", not layer.unroll, f"unroll={layer.unroll}"),
        Reason(
            "the coefficients depend on the inputs alone",
            not layer.takes_constants,
            "the cell gets constants" if layer.takes_constants else "no constants",
        ),
        _whole_gradient(layer),
    )


def _whole_gradient(layer: LayerFacts) -> Reason:
    return Reason(
        "the gradient goes back through all steps", layer.tbptt is None, f"tbptt={layer.tbptt}"
    )


def may_fuse(reasons: Sequence[Reason]) -> bool:
    """Whether every condition of `substitution` holds."""
    return all(reason.holds for reason in reasons)


def substitution(cell: CellFacts, layer: LayerFacts) -> tuple[Reason, ...]:
    """What has to hold so that a built-in LSTM or GRU may stand in, on any machine."""
    asked = Reason(
        "a built-in layer may stand in", layer.dispatch != "never", f"dispatch={layer.dispatch!r}"
    )
    declared = Reason(
        "the cell declares a built-in LSTM or GRU that computes the same",
        cell.builtin in ("lstm", "gru"),
        {
            None: "it declares none",
            "simple_rnn": "it is a SimpleRNN, which has no kernels",
        }.get(cell.builtin, f"{cell.builtin}"),
    )
    if not declared.holds:
        return (asked, declared, *cell.conditions)
    facts = cell.kernel
    conditions = [
        Reason("activation is tanh", facts.activation == "tanh", f"{facts.activation}"),
        Reason(
            "recurrent_activation is sigmoid",
            facts.recurrent_activation == "sigmoid",
            f"{facts.recurrent_activation}",
        ),
        Reason("there are biases", facts.use_bias, f"use_bias={facts.use_bias}"),
        Reason(
            "there is no recurrent dropout",
            not facts.recurrent_dropout,
            f"recurrent_dropout={facts.recurrent_dropout}",
        ),
    ]
    if cell.builtin == "gru":
        conditions.append(
            Reason(
                "the reset gate acts after the product",
                facts.reset_after,
                f"reset_after={facts.reset_after}",
            )
        )
    if not cell.is_keras:
        conditions.append(
            Reason("the cell drops no inputs", not facts.dropout, f"dropout={facts.dropout}")
        )
    conditions += [
        Reason("the loop is not unrolled", not layer.unroll, f"unroll={layer.unroll}"),
        Reason(
            "the cell gets no constants",
            not layer.takes_constants,
            "given" if layer.takes_constants else "none",
        ),
        _whole_gradient(layer),
        Reason(
            "the backward pass may keep all steps",
            not layer.checkpoint,
            f"checkpoint={layer.checkpoint}",
        ),
    ]
    return (asked, declared, *cell.conditions, *conditions)


def _machine(
    cell: CellFacts, machine: Machine, kernel: Kernel | None, mask: MaskKind
) -> tuple[Reason, ...]:
    """What has to hold so that a kernel runs, and not the loop."""
    on_device = [
        k
        for k in KERNELS
        if (k.backend, k.device) == (machine.backend, machine.device) and cell.builtin in k.builtins
    ]
    where = f"{machine.backend} on {machine.device}"
    reasons = [
        Reason(
            "the backend has a kernel on this device",
            bool(on_device),
            f"{where}: {on_device[0].calls}" if on_device else f"{where}: none, so a loop runs",
        )
    ]
    if on_device:
        reasons += [
            Reason(
                "the kernel takes the dtype", machine.dtype in on_device[0].dtypes, machine.dtype
            ),
            Reason(
                "XLA does not stand in the way",
                on_device[0].under_xla or not machine.xla,
                f"compiled by XLA: {machine.xla}",
            ),
        ]
    if mask != "not known yet":
        fits = mask in ("none", "right-padded")
        remedy = "the steps that count are moved to the front" if kernel else "a loop takes any"
        detail = mask if fits else f"{mask}; {remedy}"
        reasons.append(Reason("the mask is right-padded, no row fully masked", fits, detail))
    return tuple(reasons)


def _hoisting(cell: CellFacts, layer: LayerFacts, machine: Machine) -> tuple[Reason, ...]:
    """What has to hold so that the input side is computed once for the whole sequence."""
    if layer.unroll:
        pays, why = True, "fewer operations to write out"
    elif machine.backend == "torch":
        pays, why = True, "each operation of PyTorch's loop costs its call"
    elif machine.device == "gpu":
        pays, why = True, "one large product fills a GPU better"
    else:
        pays, why = False, "measured on CPUs: writing all products out costs more than it saves"
    return (
        Reason(
            "the step has an input side of its own, in the layer's dtype policy", cell.splits_step
        ),
        Reason(
            "the input side depends on the inputs alone",
            not layer.takes_constants,
            "the cell gets constants" if layer.takes_constants else "no constants",
        ),
        Reason("computing it for all steps at once pays", pays, why),
    )


def _compiling(layer: LayerFacts, machine: Machine) -> tuple[Reason, ...]:
    """What has to hold so that the loop is compiled by itself; nothing where none could be."""
    if layer.unroll:
        return ()
    if machine.backend != "tensorflow":
        which = {"jax": "JAX compiles it with what is around it"}
        detail = which.get(machine.backend, f"{machine.backend} has no compiler for it")
        return (Reason("the loop is compiled by itself", False, detail),)
    return (
        Reason(
            "the loop may be compiled by itself",
            layer.compile != "never",
            f"compile={layer.compile!r}",
        ),
        Reason(
            "XLA does not compile what is around it",
            not machine.xla,
            "jit_compile=True" if machine.xla else "it does not",
        ),
        Reason("the step can be compiled", not layer.obstacle, layer.obstacle or "as far as known"),
    )
