"""The loop that feeds a step with what was chosen, for one size of everything.

    fed, states = start, initial states        # as many rows as the search wants for each
    until all rows have ended, at most max_length times:
        outputs, new = step(feed(fed), states)
        fed = chosen from outputs              # greedily, by chance, for the best few, ...
        states = new where the row had not ended

A backend compiles all of it once, and a second call of the same sizes runs what is there.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from kcells.cells.inference import trace
from kcells.cells.protocol import takes
from kcells.decoding.backends import current
from kcells.decoding.result import Generated
from kcells.decoding.search import Choose, ended_by, search_by
from kcells.decoding.steps import Stepper, check_shapes
from kcells.errors import ConfigurationError, StructureError
from kcells.structure import conform, map_leaves, outline, plain
from kcells.types import Structure, Tensor

__all__ = ["Program", "program_for", "takes_constants"]

Feed = Callable[..., Structure] | None


class Program:
    """A compiled loop; see `kcells.decoding.parts.Parts`, which it is.

    It keeps no step, since the step keeps it: each call brings its own.

    Args:
        given: the tensors of a first call, a dict: `"fed"`, what the first step sees, `"states"`,
            and `"constants"`, None for none.
        feed, end, choose, length: as for `kcells.generate`.
    """

    def __init__(
        self, given: dict[str, Structure], feed: Feed, end: Any, choose: Choose, length: int
    ) -> None:
        self.length = length
        self._feed, self._end, self._has_constants = feed, end, given["constants"] is not None
        self._search = search_by(choose, end)
        self._given = _outline(_without_none(given))
        self._carry: Structure = None
        self._stepped: Structure = None
        self._finished: Structure = None
        self._fed: Structure = None
        self._dtype = "float32"
        self._stepper: Stepper | None = None
        self._lock = threading.RLock()
        self._run = current().compiled(self)

    def __call__(self, stepper: Stepper, given: dict[str, Structure]) -> Generated:
        """What `kcells.generate` gives.

        Raises:
            ConfigurationError, StructureError: if what a step gives does not fit.
        """
        given = _without_none(given)
        with self._lock:
            self._stepper = stepper
            try:
                if self._fed is None:
                    self._fed = self._looked_at(given)
                self._search.renew()
                results = self._run(tree.flatten(given))
            finally:
                self._stepper = None
        return self._search.result(tree.pack_sequence_as(self._finished, results))

    # -- The parts

    def begin(self, given: list[Tensor]) -> list[Tensor]:
        """See `Parts`."""
        found = tree.pack_sequence_as(self._given, given)
        fed = tree.map_structure(lambda x, spec: ops.cast(x, spec.dtype), found["fed"], self._fed)
        found = tree.map_structure(self._tiled, {**found, "fed": fed})
        carry = self._search.begin(found["fed"], found["states"], self.length, self._dtype)
        prepared = self._prepared(found["constants"])
        carry = {**carry, "constants": found["constants"], "prepared": prepared}
        self._carry = _outline(carry)
        return list(tree.flatten(carry))

    def goes_on(self, carry: list[Tensor]) -> Tensor:
        """See `Parts`."""
        return ops.logical_not(ops.all(tree.pack_sequence_as(self._carry, carry)["ended"]))

    def step(self, carry: list[Tensor]) -> list[Tensor]:
        """See `Parts`."""
        found = tree.pack_sequence_as(self._carry, carry)
        outputs, states = self._step(
            found["fed"], found["states"], found["constants"], found["prepared"]
        )
        if self._search.picks_ids:
            outputs = ops.cast(outputs, self._dtype)
        stepped = {"outputs": outputs, "states": states}
        self._stepped = _outline(stepped)
        return list(tree.flatten(stepped))

    def advance(self, t: Tensor, carry: list[Tensor], stepped: list[Tensor]) -> list[Tensor]:
        """See `Parts`."""
        found = tree.pack_sequence_as(self._carry, carry)
        new = self._search.advance(t, found, **tree.pack_sequence_as(self._stepped, stepped))
        kept = {name: found[name] for name in ("constants", "prepared")}
        return list(tree.flatten({**new, **kept}))

    def finish(self, carry: list[Tensor]) -> list[Tensor]:
        """See `Parts`."""
        finished = self._search.finish(tree.pack_sequence_as(self._carry, carry))
        self._finished = _outline(finished)
        return list(tree.flatten(finished))

    def _tiled(self, leaf: Tensor) -> Tensor:
        return leaf if self._search.rows == 1 else ops.repeat(leaf, self._search.rows, axis=0)

    # -- A step

    def _inputs(self, fed: Structure, constants: Structure) -> Structure:
        if self._feed is None:
            return fed
        if self._has_constants and takes_constants(self._feed):
            return self._feed(fed, constants=constants)
        return self._feed(fed)

    def _prepared(self, constants: Structure) -> Structure:
        """What the step is given of the constants."""
        stepper = self._stepper
        assert stepper is not None  # noqa: S101  # a call goes on
        takes = self._has_constants and stepper.takes_constants
        return stepper.prepare(constants) if takes else []

    def _step(
        self, fed: Structure, states: Structure, constants: Structure, prepared: Structure
    ) -> tuple[Structure, Structure]:
        stepper = self._stepper
        assert stepper is not None  # noqa: S101  # a call goes on
        own = prepared if self._has_constants and stepper.takes_constants else None
        outputs, new = stepper.call(self._inputs(fed, constants), states, own)
        return plain(outputs), tree.map_structure(lambda n, s: ops.cast(n, s.dtype), new, states)

    # -- What is found out before anything is compiled

    def _looked_at(self, given: dict[str, Structure]) -> Structure:
        """Specs of what is fed back, in its structure; everything is held against them."""

        def spec(leaf: Tensor) -> keras.KerasTensor:
            rows = None if leaf.shape[0] is None else leaf.shape[0] * self._search.rows
            dtype = keras.backend.standardize_dtype(leaf.dtype)
            return keras.KerasTensor((rows, *leaf.shape[1:]), dtype=dtype)

        fed, states, constants = (
            tree.map_structure(spec, given[name]) for name in ("fed", "states", "constants")
        )
        stepper = self._stepper
        assert stepper is not None  # noqa: S101  # a call goes on
        try:
            inputs = trace(self._inputs, fed, constants)
            if stepper.build is not None:
                stepper.build(inputs, constants if self._has_constants else None)
            outputs, new = trace(self._step, fed, states, constants, constants)
        except Exception as error:
            if stepper.build is not None and self._feed is None and self._search.picks_ids:
                error.add_note(
                    f"generate: {stepper.name} got the ids themselves, (batch,) int32.\n"
                    "  A cell that takes vectors needs feed=, a layer or function that makes them"
                    " of ids, such as the model's Embedding."
                )
            raise
        who = f"generate: {stepper.name}"
        check_shapes(new, states, who, "states")
        if self._search.picks_ids:
            self._check_ids(outputs, who)
        chosen = trace(self._search.chosen, outputs)
        self._check_chosen(chosen, fed, who)
        return chosen

    def _check_ids(self, outputs: Structure, who: str) -> None:
        if tree.is_nested(outputs) or len(outputs.shape) != 2:
            raise StructureError(
                f"{who}: an id is chosen from scores, one tensor (batch, ids); the step gives"
                f" {outline(outputs)}.\n"
                "  For outputs that are fed back as they are, pass choose=None; else a function"
                " that makes of them what is fed back."
            )
        if outputs.dtype == "float64":
            self._dtype = "float64"
        count = outputs.shape[1]
        if self._end is not None and not callable(self._end) and not 0 <= self._end < count:
            raise ConfigurationError(
                f"{who}: end={self._end} is never chosen: the step gives {count} scores, for the"
                f" ids 0 to {count - 1}."
            )

    def _check_chosen(self, chosen: Structure, fed: Structure, who: str) -> None:
        conform(chosen, fed, "what is chosen", f"{who}: start does not have its structure;")
        check_shapes(chosen, fed, f"{who}: start does not have its shape", "what is chosen")
        if self._end is None:
            return
        is_id = not tree.is_nested(chosen) and len(chosen.shape) == 1 and "int" in chosen.dtype
        if not callable(self._end):
            if not is_id:
                raise ConfigurationError(
                    f"{who}: end={self._end!r} is an id, and what is chosen is no id but"
                    f" {outline(chosen)}.\n"
                    "  Pass a function: end(chosen) -> (batch,) bool."
                )
            return
        ended, rows = trace(lambda x: ended_by(self._end, x), chosen), tree.flatten(chosen)[0]
        if tree.is_nested(ended) or tuple(ended.shape) != tuple(rows.shape[:1]):
            raise StructureError(
                f"{who}: end(chosen) has to give (batch,) bools; its shape is {outline(ended)}."
            )


def _without_none(given: dict[str, Structure]) -> dict[str, Structure]:
    return {**given, "constants": [] if given["constants"] is None else given["constants"]}


def _outline(structure: Structure) -> Structure:
    return tree.map_structure(lambda _: 0, structure)


def takes_constants(feed: Any) -> bool:
    """Whether `feed` has a parameter of that name."""
    return takes(getattr(feed, "call", feed), "constants")


_programs: weakref.WeakKeyDictionary[Any, dict[Any, Program]] = weakref.WeakKeyDictionary()
_KEPT = 16
"""How many programs of one step are kept: functions that are made anew for each call fill it up."""


def program_for(
    step: Any, given: dict[str, Structure], feed: Feed, end: Any, choose: Choose, length: int
) -> Program:
    """The program for these arguments, which is there already if it was asked for before."""
    sizes = map_leaves(
        lambda x, _: (tuple(x.shape), keras.backend.standardize_dtype(x.dtype)),
        _without_none(given),
    )
    has_constants = given["constants"] is not None
    function = getattr(step, "__func__", None)
    key = (function, feed, end, choose, length, has_constants, repr(sizes))
    try:
        hash(key)
        # A bound method is another object each time.
        known = _programs.setdefault(getattr(step, "__self__", step), {})
    except TypeError:  # What cannot be looked up is not kept.
        return Program(given, feed, end, choose, length)
    if key not in known:
        if len(known) == _KEPT:
            del known[next(iter(known))]
        known[key] = Program(given, feed, end, choose, length)
    return known[key]
