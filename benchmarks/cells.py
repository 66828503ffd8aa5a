"""Every installed cell against stock Keras, other libraries, and its own products.

    python benchmarks/cells.py --backend torch --json cells-torch.json --picture cells-torch.png

Every figure is the median of paired ratios, kcells over the other side: in each round all
sides run, one right after the other, in an order that rotates. Below 1 kcells is faster.
Workloads: `train_on_batch` and `predict_on_batch` of a model of the layer and a Dense(1),
and on PyTorch both passes of the layer alone. Sides:

- stock: `keras.layers.RNN` around the same cell, as Keras compiles it by default;
- stock_xla (TensorFlow): the same with `jit_compile=True`;
- tf_keras (TensorFlow): the nested cell of the Keras guide in Keras 2;
- torch.nn, torchrecurrent (PyTorch): their layers, where they have one for the cell;
- floor: the matrix products of all steps and nothing else; see `kcells.bench.floor`;
- checkpoint, loop, not_compiled: kcells.RNN with an option, if `--variants` asks for them.

`--sweep` adds sizes that grow along one axis, `--memory` the memory of training, a process a
side. It may be stopped: with the same `--json`, what is there is kept, unless `--again`.

On a machine that others use too, OMP_NUM_THREADS=1 keeps PyTorch's threads from waiting for
each other; it makes the ratios steadier, and those of large sizes other ones.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

HELP = {
    "cells": "Ids with commas between them.  [default: all installed cells]",
    "sizes": "Such as 8x200x32x64,1x200x32x64: batch, time steps, features, units."
    ' "none" leaves the sweep and the memory.',
    "workloads": "train, predict, layer.  [default: all]",
    "variants": "Variants of kcells' own layer that take part: checkpoint, loop, not_compiled.",
    "memory_sizes": "Sizes for --memory.",
}


def _path(name: str, what: str) -> Any:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(f"--{name}", f"{name}_path", type=kind, help=what)


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--backend", default="tensorflow", type=click.Choice(("tensorflow", "jax", "torch")))
@click.option("--cells", default="", help=HELP["cells"])
@click.option("--sizes", default="", help=HELP["sizes"])
@click.option("--workloads", default="", help=HELP["workloads"])
@click.option("--variants", default="", help=HELP["variants"])
@click.option("--sweep", is_flag=True, help="Also sizes that grow in one number.")
@click.option("--base", default="8x100x32x64", show_default=True, help="Where the sweep starts.")
@click.option(
    "--lengths", default="10,100,1000", show_default=True, help="Time steps of the sweep."
)
@click.option("--batches", default="1,8,64", show_default=True, help="Batches of the sweep.")
@click.option("--units", default="32,256", show_default=True, help="Units of the sweep.")
@click.option("--memory", is_flag=True, help="Also the memory of training.")
@click.option("--memory-sizes", default="64x500x32x128", show_default=True)
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1))
@click.option("--again", is_flag=True, help="Measure what the file has already.")
@_path("json", "Where rows are kept, and read from.")
@_path("picture", "A PNG; those of the sweep and the memory go beside it.")
def main(backend: str, **options: Any) -> None:
    """Runs the benchmark for one backend."""
    os.environ["KERAS_BACKEND"] = backend
    from kcells.bench.campaign import tasks
    from kcells.bench.command import bench_and_report
    from kcells.bench.store import Results, ResultsError
    from kcells.errors import KCellsError

    try:
        plan = plan_of(**options)
        tasks(plan)
        results = Results(options["json_path"], again=options["again"])
    except (KCellsError, ResultsError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    bench_and_report(plan, results, options["picture_path"])


def plan_of(**options: Any) -> Any:
    """What the options ask for.

    Raises:
        ValueError: if one of them cannot be read.
    """
    from kcells.bench.campaign import Campaign
    from kcells.bench.sides import SIDES, WORKLOADS
    from kcells.bench.sizes import LoopSize, sweep

    growing = (_numbers(options[name]) for name in ("lengths", "batches", "units"))
    sizes = {"": None, "none": ()}.get(options["sizes"], _sizes(options["sizes"]))
    return Campaign(
        cells=_names(options["cells"]),
        sizes=sizes,
        workloads=_known(options["workloads"], WORKLOADS) or WORKLOADS,
        grown=tuple(sweep(LoopSize.parse(options["base"]), *growing)) if options["sweep"] else (),
        memory=_sizes(options["memory_sizes"]) if options["memory"] else (),
        variants=_known(options["variants"], tuple(SIDES)),
        rounds=options["rounds"],
        again=options["again"],
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _known(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    for name in _names(text):
        if name not in known:
            raise ValueError(f"{name!r} is none of: {', '.join(known)}")
    return _names(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(name) for name in _names(text))


def _sizes(text: str) -> Any:
    from kcells.bench.sizes import LoopSize

    return tuple(LoopSize.parse(name) for name in _names(text) if name != "none")


if __name__ == "__main__":
    main()
