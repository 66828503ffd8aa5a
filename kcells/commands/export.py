"""`kcells export`: a saved model as a file for another runtime, which is run at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from kcells.commands import library
from kcells.commands.explain import loaded
from kcells.commands.inspect import read
from kcells.commands.output import Problem, answer, json_option, own_stdout

__all__ = ["command"]

FORMATS = ("onnx", "litert", "tf_saved_model", "torch")


@click.command("export")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="onnx", show_default=True)
@click.option("--streaming", is_flag=True, help="A model of one time step, states in and out.")
@json_option
@click.pass_context
def command(
    context: click.Context, model: Path, out: Path, form: str, streaming: bool, as_json: bool
) -> None:
    """Writes a .keras file for another runtime, and runs what is written.

    The model is loaded, its plugins are imported, and Keras' backend writes the file;
    KERAS_BACKEND before the command chooses another. Exit code 1: the file does not compute
    what the model does.
    """
    read(model)
    with own_stdout(as_json):
        found = exported(model, out, form, streaming)
    answer(as_json, dataclasses.asdict(found), show)
    context.exit(1 if found.agrees is False else 0)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written, and what is known of it.

    Attributes:
        file: where it is.
        format: its format.
        streaming: whether it is a model of one time step.
        inputs, outputs: the names of these.
        megabytes: how large it is.
        agrees: whether it computes what the model does; None if nothing could run it.
        difference: by how much the outputs differ at most.
        note: why there is no answer.
    """

    file: str
    format: str
    streaming: bool
    inputs: list[str]
    outputs: list[str]
    megabytes: float
    agrees: bool | None
    difference: float | None
    note: str


def exported(path: Path, out: Path, form: str, streaming: bool) -> Exported:
    """Writes the file and runs it."""
    kcells = library.load()
    from kcells.files import MissingRuntimeError, check_file, export_options
    from kcells.files.check import drawn

    model = loaded(path)
    model = kcells.to_streaming(model).flat() if streaming else model
    _call(model, drawn(model))
    try:
        model.export(str(out), format=form, verbose=False, **export_options(model, form))
    except kcells.errors.KCellsError:
        raise
    except Exception as error:
        raise Problem(
            f"{path} cannot be written in the format {form}:"
            f" {type(error).__name__}: {str(error).strip()}"
        ) from error
    difference, agrees, note = None, None, ""
    try:
        checked = check_file(model, form, out)
        difference, agrees = checked.difference, checked.agrees()
    except MissingRuntimeError as error:
        note = str(error)
    except Exception as error:
        agrees, note = False, f"the file does not run: {type(error).__name__}: {error}"
    return Exported(
        str(out),
        form,
        streaming,
        _names(model.inputs),
        _outputs(model),
        _size(out),
        agrees,
        difference,
        note,
    )


def _call(model: Any, arrays: Any) -> None:
    # Keras wants a call before it writes for ONNX.
    from keras import ops, tree

    model(tree.map_structure(ops.convert_to_tensor, arrays))


def _names(specs: Any) -> list[str]:
    return [spec.name for spec in specs]


def _outputs(model: Any) -> list[str]:
    is_named = hasattr(model, "operations") and isinstance(model.output, dict)
    return sorted(model.output) if is_named else _names(model.outputs)


def _size(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 3)


def show(console: Console, found: dict[str, Any]) -> None:
    """What was written, and whether it is right."""
    what = "one time step" if found["streaming"] else "the whole sequence"
    console.print(
        Text(found["file"], style="bold green").append(
            f" ({found['format']}, {what}, {found['megabytes']} MB)", "default"
        )
    )
    console.print(f"  inputs:  {', '.join(found['inputs'])}")
    console.print(f"  outputs: {', '.join(found['outputs'])}")
    if found["agrees"] is None:
        console.print(Text(f"  not run: {found['note']}", "yellow"))
    elif found["agrees"]:
        console.print(f"  run: equal to the model within {found['difference']:.1e}")
    else:
        why = found["note"] or f"it differs from the model by {found['difference']:.1e}"
        console.print(Text(f"  NOT RIGHT: {why}", "bold red"))
