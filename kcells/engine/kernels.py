"""Which fused kernels there are: a table, and the machine that it is asked about."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from kcells.cells.equivalence import BuiltinName

__all__ = ["KERNELS", "Kernel", "KernelName", "Machine", "kernel_for"]

KernelName: TypeAlias = Literal["cudnn", "native", "operator", "linear_scan", "loop", "unrolled"]
"""What turns the crank: NVIDIA's library, the backend's own code for an LSTM or GRU, an operator
of the file that is being written, a scan over `h = a * h + b`, a loop of the backend over single
steps, or these steps written out."""

_FLOATS = ("float16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the plan depends on outside of the model.

    Attributes:
        backend: the Keras backend.
        device: `"gpu"` or `"cpu"`.
        dtype: the compute dtype.
        xla: whether the call is part of a graph that XLA compiles as a whole.
        transformed: whether a transform such as `torch.vmap` looks inside of the call.
        file: the format of the file that the call is traced for, as `Backend.writes` says.
    """

    backend: str
    device: str = "cpu"
    dtype: str = "float32"
    xla: bool = False
    transformed: bool = False
    file: str = ""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A fused kernel that a backend has.

    Attributes:
        name: who provides it.
        backend: the Keras backend.
        device: `"gpu"` or `"cpu"`.
        builtins: the built-in layers that it computes.
        dtypes: the compute dtypes that it takes.
        under_xla: whether it may be part of a graph that XLA compiles.
        files: the formats of files that it may be part of; `""` stands for no file.
        both_directions: whether one call runs both directions of a `Bidirectional`.
        calls: what is called.
    """

    name: KernelName
    backend: str
    device: str
    builtins: tuple[BuiltinName, ...]
    dtypes: tuple[str, ...]
    under_xla: bool
    both_directions: bool
    calls: str
    files: tuple[str, ...] = ("",)


KERNELS = (
    Kernel(
        "cudnn",
        "tensorflow",
        "gpu",
        ("lstm", "gru"),
        _FLOATS,
        under_xla=False,
        both_directions=False,
        calls="tf.raw_ops.CudnnRNNV3",
    ),
    Kernel(
        "cudnn",
        "jax",
        "gpu",
        ("lstm",),
        ("float32",),
        under_xla=True,
        both_directions=True,
        calls="jax.experimental.rnn.lstm",
    ),
    Kernel(
        "cudnn",
        "torch",
        "gpu",
        ("lstm", "gru"),
        (*_FLOATS, "bfloat16"),
        under_xla=True,
        both_directions=True,
        calls="torch.lstm, torch.gru",
        files=("", "onnx"),
    ),
    Kernel(
        "native",
        "torch",
        "cpu",
        ("lstm", "gru"),
        ("float32", "float64", "bfloat16"),
        under_xla=True,
        both_directions=True,
        calls="torch.lstm, kcells' own for a GRU",
        files=("", "onnx"),
    ),
    *(
        Kernel(
            "operator",
            "tensorflow",
            device,
            ("lstm", "gru"),
            ("float32",),
            under_xla=False,
            both_directions=False,
            calls="what tf2onnx turns into LSTM and GRU of ONNX",
            files=("onnx",),
        )
        for device in ("gpu", "cpu")
    ),
)
"""Every fused kernel that kcells calls. They are called without going through Keras,
so the table does not depend on its version."""


def kernel_for(builtin: BuiltinName | None, machine: Machine) -> Kernel | None:
    """The kernel that runs `builtin` on `machine`; None if there is none."""
    if machine.transformed:
        return None
    for kernel in KERNELS:
        if (
            (kernel.backend, kernel.device) == (machine.backend, machine.device)
            and builtin in kernel.builtins
            and machine.dtype in kernel.dtypes
            and (kernel.under_xla or not machine.xla)
            and machine.file in kernel.files
        ):
            return kernel
    return None
