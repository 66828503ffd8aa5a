"""Writes the tables of docs/dispatch.md from the code that decides.

    python tools/dispatch_tables.py [--check]

With `--check` nothing is written; the exit status says whether the page is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from kcells.cells.equivalence import KernelFacts
from kcells.engine.conditions import substitution
from kcells.engine.facts import CallFacts, CellFacts
from kcells.engine.kernels import KERNELS, Machine, kernel_for
from kcells.engine.options import Options

PAGE = Path(__file__).parents[1] / "docs" / "dispatch.md"


def conditions() -> Iterable[Sequence[str]]:
    """Every condition of the configuration, with an example that fails it."""
    asked = [
        (reason.condition, "both")
        for reason in substitution(CellFacts("lstm", is_keras=False), Options(dispatch="auto"))
    ]
    for_gru = [r.condition for r in substitution(CellFacts("gru"), Options(dispatch="auto"))]
    gru = CellFacts(
        "gru", kernel=KernelFacts("relu", "hard_sigmoid", False, False, 0.1, 0.1), is_keras=False
    )
    call = CallFacts(takes_constants=True)
    failing = {
        r.condition: r.detail
        for options in (Options(unroll=True, tbptt=5), Options(checkpoint=True))
        for r in substitution(gru, options, call)
        if not r.holds
    }
    failing |= {r.condition: r.detail for r in substitution(CellFacts(), Options())[1:]}
    known = {condition for condition, _ in asked}
    asked += [(condition, "GRU") for condition in for_gru if condition not in known]
    yield ("condition", "for", "fails, for example, with")
    for condition, which in asked:
        which = "cells of plugins" if condition == "the cell drops no inputs" else which
        example = failing.get(condition, "")
        yield (condition, which, f"`{example}`" if "=" in example else example)


def kernels() -> Iterable[Sequence[str]]:
    """Every kernel, and the loop where there is none."""
    yield ("backend", "device", "LSTM", "GRU", "dtypes", "under XLA", "both directions", "calls")
    for backend in ("tensorflow", "jax", "torch"):
        for device in ("gpu", "cpu"):
            names = [_kernel(builtin, backend, device) for builtin in ("lstm", "gru")]
            here = (backend, device)
            own = [k for k in KERNELS if (k.backend, k.device) == here and "" in k.files]
            if not own:
                yield (backend, device, *names, "all", "yes", "no", "")
                continue
            (kernel,) = own
            yield (
                backend,
                device,
                *names,
                ", ".join(kernel.dtypes),
                "yes" if kernel.under_xla else "no",
                "yes" if kernel.both_directions else "no",
                ", ".join(map(_code, kernel.calls.split(", "))),
            )


def _code(called: str) -> str:
    """A name as code; words as they are."""
    return called if " " in called else f"`{called}`"


def _kernel(builtin: str, backend: str, device: str) -> str:
    kernel = kernel_for(builtin, Machine(backend, device))  # type: ignore[arg-type]
    return kernel.name if kernel else "loop"


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *body])


def page(text: str) -> str:
    """The page with both tables made anew."""
    for name, rows in (("conditions", conditions()), ("kernels", kernels())):
        before, marker, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{marker}{markdown(rows)}\n{end}{after}"
    return text


def main() -> None:
    """Writes the page, or checks it."""
    text = PAGE.read_text(encoding="utf-8")
    made = page(text)
    if "--check" in sys.argv:
        sys.exit(made != text)
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
