"""The conditions for each way of running a cell, with their answers."""

from __future__ import annotations

from collections.abc import Sequence

from kcells.engine.facts import CallFacts, CellFacts, MaskKind
from kcells.engine.kernels import KERNELS, Kernel, Machine
from kcells.engine.options import Options
from kcells.engine.thresholds import THRESHOLDS
from kcells.errors import DispatchError, table
from kcells.reasons import Reason

__all__ = [
    "all_hold",
    "at_once",
    "cannot_dispatch",
    "compiling",
    "found",
    "hoisting",
    "of_kernels",
    "on_machine",
    "pays_at_once",
    "repeating",
    "seeking_products",
    "sorting",
    "substitution",
]

_UNKNOWN = CallFacts()


def at_once(cell: CellFacts, options: Options, call: CallFacts) -> tuple[Reason, ...]:
    """What has to hold so that all steps are computed at once."""
    linear = Reason("the cell is linear in its state", cell.is_linear)
    if cell.builtin is not None and not cell.is_linear:
        # An LSTM, a GRU or a SimpleRNN: nobody would ask.
        return ()
    if not linear.holds:
        return (linear,)
    return (
        linear,
        Reason(
            "all steps may be computed at once",
            options.parallel != "never",
            f"parallel={options.parallel!r}",
        ),
        Reason("the loop is not to be written out", not options.unroll, f"unroll={options.unroll}"),
        Reason(
            "the coefficients depend on the inputs alone",
            not call.takes_constants,
            "the cell gets constants" if call.takes_constants else "no constants",
        ),
        _whole_gradient(options),
    )


def pays_at_once(machine: Machine, call: CallFacts) -> tuple[Reason, ...]:
    """What has to hold so that computing all steps at once is faster; nothing elsewhere.

    On a CPU JAX's loop reads a step of an array number by number. That costs a small step what one
    product for all steps saves, unless there is much to multiply.
    """
    if (machine.backend, machine.device, machine.file) != ("jax", "cpu", "") or not call.batch:
        return ()
    least = THRESHOLDS.jax_linear_at_once * call.batch
    detail = f"{call.features} numbers a row, batch {call.batch}; from {least} numbers on"
    return (Reason("there is much to multiply for each row", call.features >= least, detail),)


def sorting(machine: Machine) -> tuple[Reason, ...]:
    """What has to hold so that steps are found by sorting, as under a mask; nothing elsewhere."""
    if (machine.backend, machine.file) != ("jax", "onnx"):
        return ()
    return (Reason("the file can sort any number of steps", False, "jax2onnx cannot"),)


def _whole_gradient(options: Options) -> Reason:
    return Reason(
        "the gradient goes back through all steps", options.tbptt is None, f"tbptt={options.tbptt}"
    )


def all_hold(reasons: Sequence[Reason]) -> bool:
    """Whether every condition holds."""
    return all(reason.holds for reason in reasons)


def substitution(
    cell: CellFacts, options: Options, call: CallFacts = _UNKNOWN
) -> tuple[Reason, ...]:
    """What has to hold so that a built-in LSTM or GRU may stand in, on any machine."""
    asked = Reason(
        "a built-in layer may stand in",
        options.dispatch != "never",
        f"dispatch={options.dispatch!r}",
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
        Reason("the loop is not unrolled", not options.unroll, f"unroll={options.unroll}"),
        Reason(
            "the cell gets no constants",
            not call.takes_constants,
            "given" if call.takes_constants else "none",
        ),
        _whole_gradient(options),
        Reason(
            "the backward pass may keep all steps",
            not options.checkpoint,
            f"checkpoint={'on' if options.checkpoint else 'off'}",
        ),
    ]
    return (asked, declared, *cell.conditions, *conditions)


def of_kernels(options: Options, call: CallFacts) -> tuple[Reason, ...]:
    """What no kernel can give; nothing where nobody asks for it."""
    found = []
    if call.resets:
        found.append(Reason("no step starts anew", False, "reset= was passed; a loop runs"))
    if options.return_all_states:
        detail = "return_all_states=True; a loop runs"
        found.append(Reason("the last states alone are wanted", False, detail))
    return tuple(found)


def on_machine(
    cell: CellFacts, machine: Machine, kernel: Kernel | None, mask: MaskKind
) -> tuple[Reason, ...]:
    """What has to hold so that a kernel runs, and not the loop."""
    on_device = [
        k
        for k in KERNELS
        if (k.backend, k.device) == (machine.backend, machine.device)
        and cell.builtin in k.builtins
        and machine.file in k.files
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
            Reason(
                "no transform looks inside of the call",
                not machine.transformed,
                "torch.func: it needs single steps" if machine.transformed else "none",
            ),
        ]
    if mask != "not known yet":
        fits = mask in ("none", "right-padded")
        remedy = "the steps that count are moved to the front" if kernel else "a loop takes any"
        detail = mask if fits else f"{mask}; {remedy}"
        reasons.append(Reason("the mask is right-padded, no row fully masked", fits, detail))
    return tuple(reasons)


def hoisting(
    cell: CellFacts, options: Options, call: CallFacts, machine: Machine
) -> tuple[Reason, ...]:
    """What has to hold so that the input side is computed once for the whole sequence."""
    if options.unroll:
        pays, why = True, "fewer operations to write out"
    elif machine.backend == "torch":
        pays, why = True, "each operation of PyTorch's loop costs its call"
    elif machine.device == "gpu":
        pays, why = True, "one large product fills a GPU better"
    else:
        pays, why = False, "on a CPU only large products are, which are found in the step"
    return (
        Reason(
            "the step has an input side of its own, in the layer's dtype policy", cell.splits_step
        ),
        Reason(
            "the input side depends on the inputs alone",
            not call.takes_constants,
            "the cell gets constants" if call.takes_constants else "no constants",
        ),
        Reason("computing it for all steps at once pays", pays, why),
    )


def seeking_products(options: Options, machine: Machine) -> tuple[Reason, ...]:
    """What has to hold so that products of the inputs alone are found; nothing elsewhere."""
    if machine.device == "gpu" or options.unroll:
        return ()
    whose = {
        "tensorflow": "the loop has a backward pass of its own",
        "torch": "the loop is compiled",
        "jax": "always",
    }
    own = machine.backend == "jax" or options.compile != "never"
    return (
        Reason(
            "products of the inputs alone can be found in the step", own, whose[machine.backend]
        ),
        Reason(
            "what they give may be kept for all steps",
            not options.checkpoint,
            f"checkpoint={'on' if options.checkpoint else 'off'}",
        ),
        Reason("the backend runs the loop itself", not machine.file, machine.file),
    )


def found(call: CallFacts) -> tuple[Reason, ...]:
    """The products that were computed before the loop when it was last traced."""
    if call.products is None:
        return ()
    least = f"from {THRESHOLDS.products_ahead_in_training} weights a result on in training"
    least += f", from {THRESHOLDS.products_ahead_otherwise} otherwise"
    sizes = [f"{p.weights} weights for {p.results} results of a step" for p in call.products]
    detail = ("; ".join(sizes) or "none large enough") + f"; {least}"
    return (Reason("some pay", bool(call.products), detail),)


def compiling(
    options: Options, machine: Machine, obstacle: str, *, scans: bool = False
) -> tuple[Reason, ...]:
    """What has to hold so that the loop is compiled by itself; nothing where none could be.

    Args:
        options: the layer's.
        machine: what it runs on.
        obstacle: what is known to stand in the way.
        scans: whether it is a scan, which takes no step of the cell.
    """
    if options.unroll:
        return ()
    without = ""
    if machine.backend == "jax":
        without = "JAX compiles it with what is around it"
    elif machine.backend == "torch" and scans:
        without = "the scan has few calls, on many steps each"
    if without:
        return (Reason("the loop is compiled by itself", False, without),)
    if machine.file:
        return (Reason("no file is written that could not hold it", False, machine.file),)
    asked = Reason(
        "the loop may be compiled by itself",
        options.compile != "never",
        f"compile={options.compile!r}",
    )
    possible = Reason("the step can be compiled", not obstacle, obstacle or "as far as known")
    if machine.backend == "torch":
        inside = "torch.func: it needs single steps" if machine.transformed else "none"
        seconds = f"as soon as calls like it have taken {THRESHOLDS.torch_compile_seconds:g} s"
        when = "at once" if options.compile == "always" else seconds
        return (
            asked,
            Reason("no transform looks inside of the call", not machine.transformed, inside),
            possible,
            Reason("compiling pays", True, when),
        )
    around = "jit_compile=True" if machine.xla else "it does not"
    return (
        asked,
        Reason("XLA does not compile what is around it", not machine.xla, around),
        possible,
    )


def repeating(options: Options, machine: Machine) -> tuple[Reason, ...]:
    """Whether the backward pass of a loop repeats steps; nothing where nobody asked."""
    if not options.checkpoint:
        return ()
    where = "in a graph, not in an eager call" if machine.backend == "tensorflow" else "always"
    if machine.transformed:
        where = "torch.func finds no backward pass but that of single steps"
    return (Reason("the backward pass repeats blocks of steps", not machine.transformed, where),)


def cannot_dispatch(cell: str, reasons: Sequence[Reason]) -> DispatchError:
    """The error for `dispatch="require"`, with every reason that stands in the way."""
    against = [(reason.condition, reason.detail) for reason in reasons if not reason.holds]
    error = DispatchError(
        f'{cell}: dispatch="require" was asked for, and no built-in layer can stand in.\n'
        f"  It would take:\n{table(against, indent='    ')}\n"
        '  Change these, or use dispatch="auto", which runs the cell in a loop.'
    )
    error.reasons = tuple(reasons)
    return error
