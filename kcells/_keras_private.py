"""The private names of Keras that kcells cannot do without, each with its reason.

`tests/test_keras_private.py` fails when one of them moves or changes its meaning.
Nothing else in kcells imports from `keras.src`.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import dtypes as _dtypes
from keras.src.backend.common.masking import get_keras_mask as _get_keras_mask
from keras.src.backend.common.masking import set_keras_mask as _set_keras_mask

__all__ = ["exported_format", "float64_stays_float64", "get_mask", "set_mask", "sublayers"]

_EXPORTERS = {
    "keras.src.export.litert": "litert",
    "keras.src.export.onnx": "onnx",
    "keras.src.export.saved_model": "tf_saved_model",
    "keras.src.export.saved_model_export_archive": "tf_saved_model",
    "tensorflow.lite.python.lite": "litert",
    "tf2onnx.convert": "onnx",
}
"""Modules that trace a model for a file, and the format of the file."""


def get_mask(tensor: Any) -> Any:
    """The mask that an upstream layer attached to `tensor`, or None.

    Keras fills in the call argument `mask` only for layers that are called with one
    tensor argument: as soon as `initial_state` is passed, the mask is lost. Where it
    is kept depends on the backend (JAX tracers take no attributes).
    """
    return _get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attaches `mask` to `tensor`; the counterpart of `get_mask`."""
    _set_keras_mask(tensor, mask)


def sublayers(layer: Any) -> Iterator[Any]:
    """`layer` and all layers inside it; only `layer` itself if it is no Keras layer.

    Keras lists the layers of a `Model` publicly, but not those of a `Layer`.
    """
    if isinstance(layer, keras.layers.Layer):
        yield from layer._flatten_layers()
    else:
        yield layer


def exported_format() -> str:
    """The format of the file that this call is traced for; `""` if it is for none.

    Keras hands a model on to the exporters of TensorFlow and JAX as a plain function. Nothing in
    the call, nor in the graph that is made, tells what will become of it; but who called does.
    Most files go through a SavedModel, so the first caller decides.
    """
    found, frame = "", inspect.currentframe()
    while frame is not None:
        found = _EXPORTERS.get(frame.f_globals.get("__name__", ""), found)
        frame = frame.f_back
    return found


@contextlib.contextmanager
def float64_stays_float64() -> Iterator[None]:
    """Inside, the results of ops on float64 are float64 on every backend.

    On JAX and PyTorch, Keras' promotion rules turn the results of many of them into
    float32 (matmul on PyTorch, tanh on JAX), whatever the dtype policy says, and finite
    differences need all digits.
    """
    table = _dtypes.BIT64_TO_BIT32_DTYPE
    before = table["float64"]
    table["float64"] = "float64"
    try:
        yield
    finally:
        table["float64"] = before
