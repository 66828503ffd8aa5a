"""What a script or a file cannot hold, said before one is written."""

from __future__ import annotations

from keras import ops

from kcells.engine.call import Call
from kcells.engine.plan import Plan
from kcells.errors import ConfigurationError

__all__ = ["check_export"]

_NAMES = {
    "": "a script of TorchScript has",
    "onnx": "a file in the format ONNX has",
    "tf_saved_model": "what JAX writes into a SavedModel has",
}


def check_export(call: Call, lengths: set[int | None], who: str) -> None:
    """Looks at a call that is traced for a script or a file; any other is as it should be.

    Args:
        call: the call.
        lengths: for how many steps the layer was built and symbolically called; None where
            the number was not known.
        who: the layer, for messages.

    Raises:
        ConfigurationError: if it would compute something else than the layer does.
    """
    length = call.first.shape[1]
    # While TorchScript traces, which it does for ONNX too, sizes are tensors.
    is_script, file = ops.is_tensor(length), call.plan.machine.file
    # LiteRT has variables.
    if call.options.stateful and (is_script or file) and file != "litert":
        raise ConfigurationError(
            f"{who}: stateful=True remembers the states of one call for the next, and"
            f" {_NAMES[file]} no memory.\n"
            "  Pass the states in and out: initial_state=keras.Input(...) and"
            " return_state=True; or export a model with stateful=False."
        )
    # Keras traces an unknown length as 1.
    may_be_any = is_script and file == "onnx" and int(length) == 1 and lengths != {1}
    if may_be_any and _steps_are_written_out(call.plan):
        raise ConfigurationError(
            f"{who}: PyTorch writes a loop into a file step by step, and the number of time"
            " steps is not known.\n"
            f"  length in the trace: 1; lengths that the layer was built for:"
            f" {_listed(lengths)}\n"
            "  Give it: model.export(..., input_signature=[keras.InputSpec(shape=(None, time,"
            " features), ...)]); for files of one step, build a model on keras.Input((1,"
            " features)) with a layer of its own."
        )


def _steps_are_written_out(plan: Plan) -> bool:
    if plan.members:
        return any(map(_steps_are_written_out, plan.members))
    return not plan.calls_kernel


def _listed(lengths: set[int | None]) -> str:
    known = sorted(length for length in lengths if length is not None)
    return ", ".join([*map(str, known), *(["any"] if None in lengths else [])]) or "none"
