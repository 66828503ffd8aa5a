"""Every installed cell in every format of `model.export`: each file is run, and compared.

    python benchmarks/export.py --backend tensorflow

Writes `benchmarks/results/export-<backend>.json`, and a table beside it, `.md`. A row is one
model and one format. It is right if the runtime of the format gives what `predict` gives, and says
by how much they differ at most; otherwise it has the first line of the error, and says whether
there is a file all the same. No option is set: `model.export(path, format=...)`. Beside the cells
stand the layers of Keras.

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
OF_KERAS = ("keras LSTM", "keras GRU", "keras RNN(LSTMCell)")
BATCH, TIME, FEATURES, UNITS = 3, 5, 4, 4
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
        for variant, options in VARIANTS.items():
            if options.get("masked") and not takes_vectors(name):
                continue
            model, arrays = model_of(name, **options)
            for form in formats:
                yield {
                    "model": name,
                    "variant": variant,
                    "format": form,
                    **tried(model, arrays, form),
                }


def model_of(name: str, length: int | None = None, masked: bool = False, **options: Any) -> Any:
    """A model of one layer that was called, and arrays for it; masks are for vectors."""
    import keras
    import numpy as np
    from keras import tree

    shapes = shapes_of(name)
    inputs = tree.map_structure(lambda shape: keras.Input((length, *shape.dims)), shapes)
    rng = np.random.default_rng(0)
    arrays = tree.map_structure(
        lambda shape: rng.normal(size=(BATCH, TIME, *shape.dims)).astype("float32"), shapes
    )
    sequences = inputs
    if masked:
        arrays[0, 3:], arrays[1, 1] = 0.0, 0.0
        sequences = keras.layers.Masking()(inputs)
    model = keras.Model(inputs, layer_of(name, **options)(sequences))
    model(tree.map_structure(keras.ops.convert_to_tensor, arrays))
    return model, arrays


def takes_vectors(name: str) -> bool:
    """Whether a step is one vector, which is what `Masking` looks at."""
    from keras import tree

    shapes = shapes_of(name)
    return not tree.is_nested(shapes) and len(shapes.dims) == 1


def shapes_of(name: str) -> Any:
    """A structure of the `Size` of one step of each input."""
    from kcells.cells.card import Place, card_of
    from kcells.registry import load
    from kcells.structure import size_structure

    shape = (FEATURES,) if name in OF_KERAS else card_of(load(name)).inputs(Place(UNITS, FEATURES))
    # In a list, a tuple of ints is a shape and not a structure.
    (shapes,) = size_structure([shape], "inputs", name)
    return shapes


def layer_of(name: str, **options: Any) -> Any:
    """The layer that is measured."""
    import keras

    import kcells
    from kcells.cells.card import Place, arguments_for
    from kcells.registry import load

    if name not in OF_KERAS:
        return kcells.build(name, **arguments_for(load(name), Place(UNITS, FEATURES)), **options)
    if name == "keras RNN(LSTMCell)":
        return keras.layers.RNN(keras.layers.LSTMCell(UNITS), **options)
    return {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}[name.split()[1]](UNITS, **options)


def tried(model: Any, arrays: Any, form: str) -> dict[str, Any]:
    """What became of one export: `difference`, or `error` and whether there is a `file`."""
    from kcells.files import SUFFIXES

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"model{SUFFIXES[form]}"
        try:
            model.export(str(path), format=form, verbose=False)
            return {"difference": difference(model, arrays, form, path)}
        except Exception as error:  # one row's failure is its result
            return {"error": first_line(error), "file": path.exists()}


def difference(model: Any, arrays: Any, form: str, path: Path) -> float:
    """By how much the file and `predict` differ at most."""
    import numpy as np
    from keras import tree

    from kcells.files import run_file

    wanted = tree.flatten(model.predict(arrays, verbose=0))
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
