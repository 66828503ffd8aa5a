"""A saved model loads in a process that knows nothing of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings

import keras
import numpy as np
from keras import tree

from kcells.registry.info import BUILTIN_DISTRIBUTION
from kcells.testing.law import NotApplicableError, ViolationError, law
from kcells.testing.models import functional
from kcells.testing.numbers import same
from kcells.testing.subject import Subject

__all__ = ["registration", "saving"]

# What is left out of the process's arguments is what a user would not do either: `import
# kcells` finds the cells that a distribution declares, and others are imported by hand.
_LOAD = """
import importlib, importlib.util, sys

import keras
import numpy

import kcells

folder, module, file = sys.argv[1:]
if module:
    try:
        importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file)
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
arrays = numpy.load(folder + "/inputs.npz")
model = keras.models.load_model(folder + "/model.keras")
leaves = [arrays[f"arr_{k}"] for k in range(len(arrays))]
inputs = keras.tree.pack_sequence_as(model.input, leaves)
first = keras.tree.flatten(model(inputs))
model.set_weights([0.0 * weight for weight in model.get_weights()])
model.load_weights(folder + "/model.weights.h5")
second = keras.tree.flatten(model(inputs))
numpy.savez(folder + "/outputs.npz", *map(keras.ops.convert_to_numpy, [*first, *second]))
"""


@law(
    "saving",
    "A .keras file and a weights file give the same outputs in a fresh process.",
    of_class=True,
)
def saving(subject: Subject) -> None:
    subject.need_layer()
    layer = subject.layer()
    module, file = _where(subject)
    model = functional(layer, subject.inputs)
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            # A class that no plugin provides may still be one to check.
            warnings.simplefilter("ignore")
            model.save(f"{folder}/model.keras")
        model.save_weights(f"{folder}/model.weights.h5")
        np.savez(f"{folder}/inputs.npz", *tree.flatten(subject.inputs))
        process = subprocess.run(  # noqa: S603  our own code
            [sys.executable, "-c", _LOAD, folder, module, file],
            # The module may import what stands beside it.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            last = process.stderr.strip().splitlines()[-12:]
            raise ViolationError("a fresh process cannot load the model:\n" + "\n".join(last))
        with np.load(f"{folder}/outputs.npz") as arrays:
            found = [arrays[f"arr_{position}"] for position in range(len(arrays))]
    expected = subject.expected.outputs
    files = ("from the .keras file", "from the weights file")
    count = len(tree.flatten(expected))
    for what, leaves in zip(files, (found[:count], found[count:]), strict=True):
        same(tree.pack_sequence_as(expected, leaves), expected, "outputs", what=what)


def _where(subject: Subject) -> tuple[str, str]:
    """The module that a process has to import to have the class, and its file; or nothing."""
    cls = subject.target.cell_class
    if subject.target.distribution or cls.__module__.startswith("keras."):
        return "", ""
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise NotApplicableError(f"{cls.__qualname__} is not in a module that could be imported")
    return cls.__module__, str(getattr(sys.modules[cls.__module__], "__file__", ""))


@law(
    "registration",
    "The class is registered with Keras under the name of its distribution.",
    of_class=True,
)
def registration(subject: Subject) -> None:
    subject.need_layer()
    cls = subject.target.cell_class
    if cls.__module__.startswith("keras.") or subject.target.distribution == BUILTIN_DISTRIBUTION:
        raise NotApplicableError("Keras finds its own classes")
    name = keras.saving.get_registered_name(cls)
    package, separator, _ = name.rpartition(">")
    remedy = "@keras.saving.register_keras_serializable(package=...), the distribution's name"
    if not separator:
        raise ViolationError(
            f"{cls.__name__} is not registered; decorate it with {remedy}", "class"
        )
    wanted = subject.target.distribution
    if package == "Custom" or (wanted and package != wanted):
        raise ViolationError(
            f"{cls.__name__} is registered under {package!r}"
            f"{wanted and f', and its distribution is {wanted!r}'}; use {remedy}",
            "class",
        )
