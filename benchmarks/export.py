"""Every installed cell in every format of `model.export`: each file is run, and compared.

    python benchmarks/export.py --backend tensorflow

Writes `benchmarks/results/export-<backend>.json`, and a table beside it, `.md`. A row is one
model and one format. It is right if the runtime of the format gives what `predict` gives, and says
by how much they differ at most; otherwise it has the first line of the error, and says whether
there is a file all the same. No option is set: `model.export(path, format=...)`; but for
programs of torch.export, where Keras needs `dynamic_shapes` for any batch. All weights are moved
off what they start at. Beside the cells stand the layers of Keras.

Of every cell the outputs are looked at; of a few, one for each way to run a loop, also what a call
may get besides (`reset`, `lengths`) and a trained initial state; of cells that attend, a memory
that comes as one more input of the model.

Runtimes: onnxruntime, the interpreter of LiteRT by itself (ai-edge-litert), tf.saved_model.load,
torch.export.load. On JAX the format ONNX needs the package jax2onnx.

`--cells lstm,gru` measures these again and keeps the other rows of the file.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).parent / "results"
FORMATS = {
    "tensorflow": ("onnx", "litert", "tf_saved_model"),
    "jax": ("onnx", "tf_saved_model"),
    "torch": ("onnx", "torch"),
}
PACKAGES = ("kcells", "keras", "tensorflow", "jax", "torch", "tf2onnx", "jax2onnx", "onnx")
PACKAGES += ("onnxruntime", "ai-edge-litert")
VARIANTS = {
    "last output": {"length": 5},
    "all outputs, any length": {"return_sequences": True},
    "masked, any length": {"return_sequences": True, "masked": True},
}
OPTIONS = {
    "trained start": {"length": 5, "train_initial_state": True},
    "lengths": {"length": 5, "extra": ("lengths",)},
    "lengths, any length": {"return_sequences": True, "extra": ("lengths",)},
    "reset": {"length": 5, "extra": ("reset",)},
    "reset, any length": {"return_sequences": True, "extra": ("reset",)},
    "all of these, any length": {
        "return_sequences": True,
        "train_initial_state": True,
        "extra": ("lengths", "reset"),
    },
}
MEMORY = {
    "a memory": {"length": 5, "extra": ("memory",), "learned_memory": None},
    "a masked memory, any length": {
        "return_sequences": True,
        "extra": ("memory", "memory_mask"),
        "learned_memory": None,
    },
}
# A kernel, a loop, all steps at once, and a kernel in a wrapper.
WITH_OPTIONS = ("lstm", "ln_gru", "min_gru", "residual")
OF_KERAS = ("keras LSTM", "keras GRU", "keras RNN(LSTMCell)")
BATCH, TIME, FEATURES, UNITS, POSITIONS = 3, 5, 4, 4, 6
TOLERANCE = 1e-5


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--backend", default="tensorflow", type=click.Choice(tuple(FORMATS)))
@click.option("--cells", default="", help="Ids with commas between them.  [default: all]")
@click.option("--formats", default="", help="Formats with commas between them.  [default: all]")
@click.option("--results", default=RESULTS, type=click.Path(file_okay=False, path_type=Path))
def main(backend: str, cells: str, formats: str, results: Path) -> None:
    """Runs the benchmark for one backend."""
    os.environ["KERAS_BACKEND"] = backend
    file = results / f"export-{backend}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    known = {(row["model"], row["variant"], row["format"]): row for row in rows}
    for row in measured(_split(cells) or all_models(), _split(formats) or FORMATS[backend]):
        known[row["model"], row["variant"], row["format"]] = row
        sys.stdout.write(f"{row['model']:24} {row['variant']:24} {row['format']:15} {said(row)}\n")
        sys.stdout.flush()
        # What is there survives an interrupt.
        rows = list(known.values())
        file.write_text(json.dumps({"machine": machine(backend), "rows": rows}, indent=1) + "\n")
    file.with_suffix(".md").write_text(table(rows, FORMATS[backend]), encoding="utf-8")


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def all_models() -> list[str]:
    """The layers of Keras, and the ids of all installed cells."""
    import kcells

    return [*OF_KERAS, *(info.id for info in kcells.list_cells())]


def measured(models: Sequence[str], formats: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each model, variant and format; a variant that a cell has not is left out."""
    for name in models:
        for variant, options in variants_of(name).items():
            model, arrays = model_of(name, **options)
            for form in formats:
                yield {
                    "model": name,
                    "variant": variant,
                    "format": form,
                    **tried(model, arrays, form),
                }


def variants_of(name: str) -> dict[str, dict[str, Any]]:
    """What is looked at of a cell, and the arguments of `model_of` for it."""
    found = {
        variant: options
        for variant, options in VARIANTS.items()
        if takes_vectors(name) or not options.get("masked")
    }
    more = OPTIONS if name in WITH_OPTIONS else {}
    return {**found, **more, **(MEMORY if takes_a_memory(name) else {})}


def model_of(
    name: str,
    length: int | None = None,
    masked: bool = False,
    extra: Sequence[str] = (),
    **options: Any,
) -> Any:
    """A model of one layer that was called, and arrays for it; masks are for vectors."""
    import keras
    import numpy as np
    from keras import tree

    rng = np.random.default_rng(0)
    arrays = drawn(name, rng)
    inputs = tree.map_structure(
        lambda array: keras.Input((length, *array.shape[2:]), dtype=str(array.dtype)), arrays
    )
    sequences = inputs
    if masked:
        arrays[0, 3:], arrays[1, 1] = 0.0, 0.0
        sequences = keras.layers.Masking()(inputs)
    more = {key: array for key, array in beside(rng).items() if key in extra}
    named = {
        key: keras.Input(
            (length if key == "reset" else None,) if array.ndim == 2 else array.shape[1:],
            dtype=str(array.dtype),
            name=key,
        )
        for key, array in more.items()
    }
    layer = layer_of(name, **options)
    outputs = layer(sequences, **arguments_of_call(named))
    for weight in layer.trainable_weights:
        # Many start at zero, and what is left out then makes no difference.
        weight.assign_add(rng.normal(scale=0.1, size=weight.shape))
    if more:
        inputs, arrays = {"sequences": inputs, **named}, {"sequences": arrays, **more}
    model = keras.Model(inputs, outputs)
    model(tree.map_structure(keras.ops.convert_to_tensor, arrays))
    return model, arrays


def drawn(name: str, rng: Any) -> Any:
    """A structure of `(batch, time, ...)` arrays: what the cell takes."""
    from kcells import Case
    from kcells.cells.card import Place, card_of
    from kcells.registry import load

    if name in OF_KERAS:
        return Case(inputs=(FEATURES,)).draw(rng, BATCH, TIME)
    card = card_of(load(name))
    sample = card.cases[0].sample if card.cases else None
    return Case(inputs=card.inputs(Place(UNITS, FEATURES)), sample=sample).draw(rng, BATCH, TIME)


def beside(rng: Any) -> dict[str, Any]:
    """What a call may get beside its sequences, by the names of the inputs."""
    import numpy as np

    return {
        "lengths": np.array([TIME, 2, 3], "int32"),
        "reset": rng.random((BATCH, TIME)) < 0.4,
        "memory": rng.normal(size=(BATCH, POSITIONS, FEATURES)).astype("float32"),
        "memory_mask": np.arange(POSITIONS) < np.array([[POSITIONS], [2], [4]]),
    }


def arguments_of_call(named: dict[str, Any]) -> dict[str, Any]:
    """The same as arguments of a layer; memory and mask are the constants of the cell."""
    found = {key: value for key, value in named.items() if not key.startswith("memory")}
    if "memory_mask" in named:
        found["constants"] = {"memory": named["memory"], "mask": named["memory_mask"]}
    elif "memory" in named:
        found["constants"] = named["memory"]
    return found


def takes_vectors(name: str) -> bool:
    """Whether a step is one vector, which is what `Masking` looks at."""
    import numpy as np
    from keras import tree

    arrays = drawn(name, np.random.default_rng(0))
    return not tree.is_nested(arrays) and arrays.ndim == 3


def takes_a_memory(name: str) -> bool:
    """Whether the cell attends to a memory, which is learned where a call gets none."""
    from kcells.cells.signature import constructor_parameters
    from kcells.registry import load

    return name not in OF_KERAS and "learned_memory" in constructor_parameters(load(name))


def layer_of(name: str, **options: Any) -> Any:
    """The layer that is measured."""
    import keras

    import kcells
    from kcells.cells.card import Place, arguments_for
    from kcells.registry import load

    if name not in OF_KERAS:
        arguments = arguments_for(load(name), Place(UNITS, FEATURES))
        return kcells.build(name, **{**arguments, **options})
    if name == "keras RNN(LSTMCell)":
        return keras.layers.RNN(keras.layers.LSTMCell(UNITS), **options)
    return {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}[name.split()[1]](UNITS, **options)


def tried(model: Any, arrays: Any, form: str) -> dict[str, Any]:
    """What became of one export: `difference`, or `error` and whether there is a `file`."""
    from kcells.files import SUFFIXES, export_options

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"model{SUFFIXES[form]}"
        try:
            model.export(str(path), format=form, verbose=False, **export_options(model, form))
            return {"difference": difference(model, arrays, form, path)}
        except Exception as error:  # one row's failure is its result
            return {"error": first_line(error), "file": path.exists()}


def difference(model: Any, arrays: Any, form: str, path: Path) -> float:
    """By how much the file and `predict` differ at most."""
    import numpy as np
    from keras import tree

    from kcells.files import run_file

    wanted = tree.flatten(model.predict(arrays, verbose=0))
    if not any(np.any(one) for one in wanted):
        raise ValueError("the model gives nothing but zeros, with which any file would agree")
    names = [one.name for one in model.inputs]
    pairs = zip(wanted, run_file(form, path, arrays, names), strict=True)
    found = [
        np.abs(one - other).max() if one.shape == other.shape else np.inf for one, other in pairs
    ]
    # NaN is no number, and no agreement.
    return float(np.nan_to_num(np.max(found), nan=np.inf))


def first_line(error: Exception) -> str:
    """The line of a message that says what is wrong; Keras and torch put others around it."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exception encountered")] or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def machine(backend: str) -> dict[str, Any]:
    """What the files were made and run with."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"backend": backend, "date": str(datetime.date.today()), "versions": versions}


def said(row: dict[str, Any]) -> str:
    """A row's result in a few words."""
    if "difference" not in row:
        return ("A FILE THAT FAILS: " if row["file"] else "error: ") + row["error"]
    is_right = row["difference"] <= TOLERANCE
    return f"{'right' if is_right else 'WRONG'}, {row['difference']:.0e}"


def table(rows: Sequence[dict[str, Any]], formats: Sequence[str]) -> str:
    """All rows as Markdown, one line a model and a variant."""
    found = {(row["model"], row["variant"], row["format"]): said(row) for row in rows}
    lines = [["model", "variant", *formats], ["---"] * (2 + len(formats))]
    for name, variant in dict.fromkeys((row["model"], row["variant"]) for row in rows):
        cells = [found.get((name, variant, form), "").replace("|", "\\|") for form in formats]
        lines.append([name, variant, *cells])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
