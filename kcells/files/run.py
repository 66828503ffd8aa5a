"""Runs a file in the runtime of its format, which is imported only then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras import tree

from kcells.files.backends import tensorflow, torch
from kcells.types import Structure

__all__ = ["RUNTIMES", "SUFFIXES", "export_options", "run_file"]

SUFFIXES = {"onnx": ".onnx", "litert": ".tflite", "tf_saved_model": "", "torch": ".pt2"}
"""How a file of each format of `model.export` is called; a SavedModel is a folder."""

RUNTIMES = {
    "onnx": "onnxruntime",
    "litert": "ai-edge-litert",
    "tf_saved_model": "tensorflow",
    "torch": "torch",
}
"""What has to be installed to run a file."""


def export_options(model: Any, form: str) -> dict[str, Any]:
    """What `model.export` has to be told so that sizes that are not known may be any."""
    return torch.any_size(model) if form == "torch" else {}


def run_file(form: str, path: Path, arrays: Structure, names: Sequence[str]) -> list[Any]:
    """What the runtime of a format makes of a file.

    Args:
        form: the format, as `model.export` calls it.
        path: the file.
        arrays: a structure of arrays like the inputs of the model.
        names: the names of these inputs, in the order of `keras.tree.flatten`.

    Returns:
        The outputs, as arrays, in the order of `keras.tree.flatten`.

    Raises:
        ImportError: if the runtime is not installed.
        Exception: whatever a runtime says of a file that it cannot run.
    """
    by_name = {"onnx": _by_onnxruntime, "litert": _by_litert}
    if form in by_name:
        return by_name[form](str(path), dict(zip(names, tree.flatten(arrays), strict=True)))
    return {"tf_saved_model": tensorflow.run, "torch": torch.run}[form](str(path), arrays)


def _by_onnxruntime(path: str, named: dict[str, Any]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, _as_in_file([one.name for one in session.get_inputs()], named)))


def _by_litert(path: str, named: dict[str, Any]) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=path).get_signature_runner()
    found = run(**_as_in_file(list(run.get_input_details()), named))
    return [found[name] for name in sorted(found)]


def _as_in_file(inputs: list[str], named: dict[str, Any]) -> dict[str, Any]:
    """Arrays by the names in a file; that of a single input need not be the one in Keras.

    PyTorch leaves an input that nothing depends on out of a file for ONNX.
    """
    if len(named) == len(inputs) == 1:
        return dict(zip(inputs, named.values(), strict=True))
    return {name: named[name] for name in inputs}
