"""Which layers and operations of Keras act on each time step alone."""

from __future__ import annotations

from typing import Any

import keras

from kcells import stock

__all__ = ["why_not_stepwise"]

_STEPWISE = (
    *(keras.layers.Dense, keras.layers.Embedding, keras.layers.Masking),
    *(keras.layers.Activation, keras.layers.LeakyReLU, keras.layers.ReLU, keras.layers.ELU),
    *(keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.AlphaDropout),
    *(keras.layers.GaussianDropout, keras.layers.GaussianNoise),
    *(keras.layers.ActivityRegularization, keras.layers.Identity, keras.layers.Rescaling),
    *(keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply, keras.layers.Average),
    *(keras.layers.Maximum, keras.layers.Minimum, keras.layers.TimeDistributed),
)
_BY_AXIS = (
    *(keras.layers.Concatenate, keras.layers.Softmax, keras.layers.Normalization),
    *(keras.layers.LayerNormalization, keras.layers.BatchNormalization),
    *(keras.layers.UnitNormalization, keras.layers.RMSNormalization),
)
_OPERATIONS = frozenset(
    [
        *("Absolute", "Add", "Cast", "Clip", "Cos", "Divide", "Elu", "Exp", "Expm1", "Gelu"),
        *("HardSigmoid", "HardSilu", "LeakyRelu", "Log", "Log1p", "LogSigmoid", "Maximum"),
        *("Minimum", "Multiply", "Negative", "Power", "Reciprocal", "Relu", "Relu6", "Rsqrt"),
        *("Selu", "Sigmoid", "Sign", "Silu", "Sin", "Softplus", "Softsign", "Sqrt", "Square"),
        *("Subtract", "Tanh", "TrueDivide", "Where", "Equal", "NotEqual", "Greater", "Less"),
        *("GreaterEqual", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "LogicalXor"),
        *("Isnan", "Isfinite", "ZerosLike", "OnesLike"),
    ]
)
"""What numbers become one by one, whatever their place; as Keras names its operations."""
_OPERATIONS_BY_AXIS = frozenset(
    [
        *("All", "Any", "Concatenate", "LogSoftmax", "Logsumexp", "Max", "Mean", "Min", "Norm"),
        *("Prod", "Softmax", "Split", "Std", "Sum", "Var"),
    ]
)


def why_not_stepwise(operation: Any, rank: int) -> str | None:
    """Why a layer or operation may not be called on a sequence of one step, or None if it may.

    Args:
        operation: what is called.
        rank: how many axes the sequence has; the second one is the time.
    """
    if isinstance(operation, stock.Bidirectional):
        return "its backward layer begins at the end"
    if isinstance(operation, stock.RNN):
        return "the states of Keras' own layer cannot be handed on; make it with kcells.build"
    if isinstance(operation, _BY_AXIS):
        return _over_time(operation, rank)
    if isinstance(operation, keras.layers.PReLU):
        shared = operation.shared_axes or ()
        return None if 1 in shared else "it has another slope for each time step"
    if isinstance(operation, _STEPWISE):
        one_number = rank == 2 and isinstance(operation, keras.layers.Dense)
        return "its inputs are one number a step, and it takes all of them" if one_number else None
    if not isinstance(operation, keras.layers.Layer):
        name = type(operation).__name__
        if name in _OPERATIONS_BY_AXIS:
            return _over_time(operation, rank)
        return None if name in _OPERATIONS else "an operation that may look at other steps"
    if type(operation).__module__.partition(".")[0] in ("keras", "kcells"):
        return "it looks at other steps, or at the length of the sequence"
    return (
        "nothing is known of its class; if it acts on each step alone, pass"
        f" stepwise=({type(operation).__name__},)"
    )


def _over_time(operation: Any, rank: int) -> str | None:
    axis = operation.axis
    if axis is None:
        return "it takes all axes, the time among them"
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    return f"axis={axis!r} is the time" if 1 in [one % rank for one in axes] else None
