"""`generate`: feeds a step with what it gave, in one compiled loop."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, tree

from kcells.decoding.choices import Beam, Greedy, Sample
from kcells.decoding.program import Feed, program_for, takes_constants
from kcells.decoding.result import Generated
from kcells.decoding.search import Choose
from kcells.decoding.steps import Stepper, as_tensor, stepper_of
from kcells.errors import ArgumentError, ConfigurationError, StructureError, table
from kcells.structure import leaves_with_paths, map_leaves, outline
from kcells.types import Structure

__all__ = ["generate"]


def generate(
    step: Any,
    initial_state: Structure,
    start: Structure,
    max_length: int,
    end: Any = None,
    choose: Any = "greedy",
    constants: Structure = None,
    feed: Feed = None,
) -> Generated:
    """Lets a step write: what is chosen from its outputs is what it sees next.

    The loop is one program of the backend, which ends when all rows have. It is compiled once for
    given sizes, as long as `step` lives and the other arguments are the same: define functions
    outside of the loop that calls `generate`. On PyTorch it is a loop of Python. No gradient goes
    through it.

    Args:
        step: a `kcells.to_streaming` model; a cell, a stack of cells or an RNN layer, of which the
            cell is stepped; or a function `(inputs, states) -> (outputs, states)`, which may use
            whatever layers it likes.
        initial_state: a structure of `(batch, ...)`, as the step has it; None for what a model,
            cell or layer starts from (the memory of a stateful layer is neither read nor written).
        start: what the first step sees, as if it had been chosen: ids `(batch,)`, one id for all
            rows, or a structure of `(batch, ...)`.
        max_length: how many steps there are at most.
        end: the id that ends a row, or a function `chosen -> (batch,) bool`; None for no end.
        choose: `"greedy"`, a `kcells.decoding.Greedy`, `Sample` or `Beam`, which choose an id from
            scores `(batch, ids)`; None if the outputs themselves are fed back; or a function of the
            outputs that gives what is fed back. Scores are logits: their log-softmax is taken. Of
            probabilities, such as a softmax gives, take the logarithm in a function.
        constants: a structure of `(batch, ...)`, given at every step to a cell, function or `feed`
            that has a parameter `constants`.
        feed: makes the inputs of the step of what was chosen: a layer, such as an Embedding, or a
            function. By default it is the input.

    Returns:
        A `kcells.Generated`: `outputs`, `lengths`, `scores`, `states`, and `hypotheses` after a
        beam search.

    Raises:
        ArgumentError: if `step`, `choose` or an argument is nothing of these.
        ConfigurationError, StructureError: if arguments, or what the step gives, do not fit.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> model = keras.Sequential([
    ...     keras.Input((None,), dtype="int32"),
    ...     keras.layers.Embedding(9, 4),
    ...     kcells.build("gru", 8, return_sequences=True),
    ...     keras.layers.Dense(9),
    ... ])
    >>> stream = kcells.to_streaming(model)  # takes ids, gives scores
    >>> result = kcells.generate(stream, None, start=np.array([1, 2]), max_length=5, end=0)
    >>> tuple(result.outputs.shape), tuple(result.lengths.shape)
    ((2, 5), (2,))
    >>> best = kcells.generate(stream, None, [1, 2], 5, end=0, choose=kcells.decoding.Beam(3))
    >>> tuple(best.hypotheses.outputs.shape)
    (2, 3, 5)
    """
    choose, length = _checked_choice(choose), _checked_length(max_length)
    end = _checked_end(end)
    stepper = stepper_of(step)
    if feed is not None and not callable(feed):
        raise ArgumentError(f"generate: feed has to be a layer or a function; received {feed!r}.")
    _check_not_symbolic(initial_state, start, constants)
    if constants is not None:
        constants = map_leaves(lambda leaf, _: as_tensor(leaf), constants)
        _check_constants(stepper, feed)
    if initial_state is not None:
        initial_state = map_leaves(lambda leaf, _: as_tensor(leaf), initial_state)
    fed = _started(start, choose, initial_state, stepper.name)
    batch = tree.flatten(fed)[0].shape[0]
    states = map_leaves(lambda x, _: as_tensor(x), stepper.first(initial_state, batch))
    _check_batch({"start": fed, "initial_state": states, "constants": constants}, stepper.name)
    given = {"fed": fed, "states": states, "constants": constants}
    return program_for(step, given, feed, end, choose, length)(stepper, given)


def _check_not_symbolic(*parts: Structure) -> None:
    leaves = [leaf for part in parts for _, leaf in leaves_with_paths(part, "")]
    symbolic = any(isinstance(leaf, keras.KerasTensor) for leaf in leaves)
    if symbolic or any(None in getattr(leaf, "shape", ()) for leaf in leaves):
        raise ConfigurationError(
            "generate: it is called with symbols, or in a graph with sizes that are not known.\n"
            "  Call it with numbers, or where all sizes are known; it is no layer of a model."
        )


def _checked_choice(choose: Any) -> Choose:
    if choose == "greedy":
        return Greedy()
    if choose is None or isinstance(choose, (Greedy, Sample, Beam)):
        return choose
    if callable(choose) and not isinstance(choose, type):
        return choose  # type: ignore[no-any-return]
    raise ArgumentError(
        f"generate: choose={choose!r} is no way to choose.\n"
        '  "greedy", or an object: kcells.decoding.Greedy(), Sample(...) or Beam(width); a function'
        " of the outputs; None to feed the outputs themselves."
    )


def _checked_length(max_length: Any) -> int:
    if not hasattr(max_length, "__index__") or max_length < 1:
        raise ConfigurationError(
            f"generate: max_length has to be an int of at least 1; received {max_length!r}."
        )
    return int(max_length)


def _checked_end(end: Any) -> Any:
    if end is None or callable(end):
        return end
    if not hasattr(end, "__index__") or isinstance(end, bool):
        raise ArgumentError(
            "generate: end has to be an id, a function of what is chosen, or None; received"
            f" {end!r}.\n"
            "  For several ids, a function: lambda ids: (ids == 1) | (ids == 2)."
        )
    return int(end)


def _check_constants(stepper: Stepper, feed: Feed) -> None:
    if not (stepper.takes_constants or (feed is not None and takes_constants(feed))):
        raise ArgumentError(
            f"generate: constants were passed, and neither {stepper.name} nor feed has a parameter"
            " of that name.\n"
            "  A model takes them among its inputs: feed=function, where function(ids, constants)"
            " makes these."
        )


def _started(start: Structure, choose: Choose, initial_state: Structure, who: str) -> Structure:
    """The start as tensors; a single number stands for every row."""
    picks_ids = isinstance(choose, (Greedy, Sample, Beam))
    if picks_ids and isinstance(start, (list, tuple)):
        start = ops.convert_to_tensor(start)
    fed = map_leaves(lambda leaf, _: as_tensor(leaf), start)
    leaves = tree.flatten(fed)
    if not leaves:
        raise StructureError(f"generate: {who}: start holds no tensor.")
    known = tree.flatten([] if initial_state is None else initial_state)
    batch = known[0].shape[0] if known and len(known[0].shape) else 1
    fed = tree.map_structure(
        lambda leaf: leaf if len(leaf.shape) else ops.broadcast_to(leaf, (batch,)), fed
    )
    dtypes = [keras.backend.standardize_dtype(leaf.dtype) for leaf in leaves]
    if picks_ids and (tree.is_nested(fed) or len(fed.shape) != 1 or "int" not in dtypes[0]):
        raise StructureError(
            f"generate: {who}: start has to be ids, (batch,) ints, as they are chosen; received"
            f" {outline(fed)} of {', '.join(sorted(set(dtypes)))}."
        )
    return fed


def _check_batch(parts: dict[str, Structure], who: str) -> None:
    named = [
        (path, tuple(leaf.shape))
        for name, part in parts.items()
        if part is not None
        for path, leaf in leaves_with_paths(part, name)
    ]
    if len({shape[:1] for _, shape in named}) > 1:
        raise StructureError(
            f"generate: {who}: what goes in disagrees on the batch.\n{table(named)}\n"
            "  Every leaf is (batch, ...)."
        )
