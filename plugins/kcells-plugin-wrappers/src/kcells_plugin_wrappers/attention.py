"""Attention to a memory, around a cell."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
from keras import activations, ops, tree

import kcells
from kcells import Card, Case
from kcells.cells import built_outputs
from kcells.errors import ConfigurationError
from kcells.structure import conform, plain, shape_leaves
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leaves import each, numbered, the_vector
from kcells_plugin_wrappers.memories import (
    check_memory,
    flags,
    memory_and_mask,
    number_of_positions,
    of_length,
)
from kcells_plugin_wrappers.score import Score
from kcells_plugin_wrappers.scores import Monotonic, score_of

__all__ = ["AttentionCell"]


class _Memory(NamedTuple):
    """What a step needs of one memory; zero where it is masked."""

    values: Tensor
    keys: Tensor
    mask: Tensor


class _Prepared(NamedTuple):
    """The constants, prepared: all memories, and what the cell inside gets, in a tuple if any."""

    memories: tuple[_Memory, ...]
    inside: tuple[Structure, ...]

    @property
    def for_cell(self) -> Structure:
        return self.inside[0] if self.inside else None


@dataclasses.dataclass(frozen=True)
class _Branch:
    """One memory: how it is scored, and with which weights; `attended` features come of it."""

    score: Score
    weights: dict[str, Any]
    kernel: Any
    attended: int
    positions: int | None


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class AttentionCell(kcells.Wrapper):
    """Lets a cell look, at every step, at a memory such as the outputs of an encoder.

        q_t, s_t = cell([x_t, c_{t-1}], s_{t-1})
        a_t = shares of score(q_t, m_j) over the positions j of the memory
        c_t = sum_j a_tj m_j                      or f([q_t, sum_j a_tj m_j] W)
        o_t = c_t                                 or q_t

    with `c` zero before the first step. The second form of c_t is that with `attention_units`.
    Several memories are looked at with the same query, and c_t holds the attention to each of
    them, one after the other.

    Memory and mask come as `constants` of the call: a tensor `(batch, positions, features)`, or
    `{"memory": m, "mask": mask}` with a mask `(batch, positions)`, true where a position counts;
    several memories as a structure, and their masks as one like it, where a dict may lack some.
    A position that does not count has no weight and no gradient, whatever stands there; where none
    counts, the context is zero. What depends on the memory alone is computed once a call.

    Papers: Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning to
    align and translate", arXiv:1409.0473; Luong, Pham and Manning 2015, "Effective approaches to
    attention-based neural machine translation", arXiv:1508.04025, section 3.3 for the inputs that
    are fed back. `AttentionWrapper` of tf.contrib.seq2seq and of TensorFlow Addons are of this
    form. The scores are in `kcells_plugin_wrappers`: `Bahdanau`, `Luong`, `Location`, `Monotonic`.

    Differences: Bahdanau et al. look before the step of the cell, with h_{t-1} as the query; here,
    as in Luong et al., the output of the cell is the query of the same step.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack. Its output
            must be one vector.
        *args: for the constructor of the cell, where it is not made yet.
        score: `"bahdanau"`, `"luong"`, `"location"`, `"monotonic"`, or one with arguments, such as
            `Bahdanau(units=64, normalize=True)`; or a structure of these like the memory. Default:
            `"bahdanau"`.
        attention_units: the columns of W, or a structure like the memory of these and None.
            Default: None, which leaves W out.
        activation: f. Default: None, which is linear, as in tf.contrib.seq2seq; Luong et al. have
            `"tanh"`.
        output_attention: whether the output is c_t, and not q_t. Default: True.
        return_alignment: whether a_t is one more leaf of the output: `(o_t, a_t)`. Default: False.
        positions: how many positions a memory has, or a structure like the memory of these.
            Default: None. It is needed where the shares are a state, which is so for `"location"`
            and `"monotonic"`; and for `return_alignment` where the memory has no fixed number.
        learned_memory: `(positions, features)` of a memory that is learned, the same for every
            row, for calls without constants; as the style tokens of Wang et al. 2018,
            arXiv:1803.09017. Default: None.
        kernel_initializer: for all matrices. Default: `"glorot_uniform"`.
        kernel_regularizer, kernel_constraint: for the same. Default: None.
        seed: an int for the noise of `Monotonic`, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs `(batch, features)`; states `{"attention": c, "cell": s}` and, for the scores
    that need it, `"alignment"`: a list of a_t, one a memory; outputs `(batch, attention)` or those
    of the cell; a_t `(batch, positions)`, in the structure of the memory; `W` `(features of q_t and
    of the memory, attention_units)`.

    Raises:
        ConfigurationError: without a memory; without `positions` where they are needed; for a
            score that is none.
        StructureError: if a memory has another shape or not as many positions as it should, or
            inputs or the output of the cell are no vectors.

    Examples:

    >>> import kcells, numpy as np
    >>> layer = kcells.build("attention", "lstm", 4, score="luong", return_sequences=True)
    >>> memory, mask = np.ones((2, 7, 5), "float32"), np.ones((2, 7), bool)
    >>> constants = {"memory": memory, "mask": mask}
    >>> layer(np.ones((2, 3, 6), "float32"), constants=constants).shape == (2, 3, 5)
    True
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        score: Any = "bahdanau",
        attention_units: Structure = None,
        activation: Any = None,
        output_attention: bool = True,
        return_alignment: bool = False,
        positions: Structure = None,
        learned_memory: tuple[int, int] | None = None,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        self.score = tree.map_structure(score_of, plain(score))
        self.attention_units, self.positions = plain(attention_units), plain(positions)
        for name in ("attention_units", "positions"):
            for value in tree.flatten(getattr(self, name)):
                if value is not None:
                    self.positive(name, value)
        self.activation = activations.get(activation)
        self.output_attention, self.return_alignment = output_attention, return_alignment
        self.learned_memory = None if learned_memory is None else tuple(learned_memory)
        if learned_memory is not None:
            for number in learned_memory:
                self.positive("learned_memory", number)
        self.keep_part("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.seed = seed
        noisy = any(one.noise for one in tree.flatten(self.score))
        self.seed_generator = keras.random.SeedGenerator(seed) if noisy else None
        self._branches: tuple[_Branch, ...] = ()

    # -- States

    @property
    def state_size(self) -> Any:
        """The last attention, the states of the cell, and the last shares; None until built."""
        if not self._branches or self.cell.state_size is None:
            return None
        recalled = [branch.positions for branch in self._branches if branch.score.recalls]
        return {
            **({"alignment": recalled} if recalled else {}),
            "attention": sum(branch.attended for branch in self._branches),
            "cell": self.bound.entry_size,
        }

    @state_size.setter
    def state_size(self, value: Any) -> None:
        raise AttributeError("state_size of AttentionCell follows from its cell and its memory.")

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        batch = 1 if batch_size is None else batch_size
        recalled = [
            branch.score.first(batch, branch.positions or 0, self.compute_dtype)
            for branch in self._branches
            if branch.score.recalls
        ]
        attended = sum(branch.attended for branch in self._branches)
        return {
            **({"alignment": recalled} if recalled else {}),
            "attention": ops.zeros((batch, attended), self.compute_dtype),
            "cell": self.bound.initial_entry(batch),
        }

    # -- Weights

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        """Builds the cell for inputs and attention, and the weights of every score."""
        memory, _ = self._split(None if constants_shape is None else shape_leaves(constants_shape))
        check_memory(memory)
        self._outline = tree.map_structure(lambda _: 0, memory)
        leaves = tree.flatten(memory)
        known = [each(getattr(self, n), memory, n, "AttentionCell") for n in _OF_EACH]
        attended = [units or leaf.shape[-1] for leaf, units in zip(leaves, known[1], strict=True)]
        if self.learned_memory is not None:
            shape = (1, *self.learned_memory)
            self.memory = self.add_weight(
                shape=shape, initializer="glorot_uniform", name="learned_memory"
            )
        query = self._build_cell(input_shape, sum(attended), constants_shape)
        self._branches = tuple(
            self._branch(numbered("", k, len(leaves)), query, leaf, *of_leaf)
            for k, (leaf, *of_leaf) in enumerate(zip(leaves, *known, strict=True))
        )
        self.built = True

    def _build_cell(self, input_shape: Structure, attended: int, constants_shape: Structure) -> int:
        """Builds the cell inside; how many features its output has."""
        inputs = the_vector(self._specs(input_shape), "the inputs", "AttentionCell")
        joined = keras.KerasTensor(
            (inputs.shape[0], inputs.shape[-1] + attended), self.compute_dtype
        )
        outputs = built_outputs(self.bound, joined, constants_shape)
        where = f"the output of {self.bound.name}"
        return int(the_vector(outputs, where, "AttentionCell").shape[-1])

    def _branch(
        self,
        end: str,
        query: int,
        memory: Any,
        score: Score,
        units: int | None,
        positions: int | None,
    ) -> _Branch:
        features = memory.shape[-1]

        def add(name: str, shape: tuple[int, ...], initializer: Any = None) -> Any:
            if initializer is None:
                return self.add(f"{name}{end}", shape, part="kernel")
            return self.add_weight(shape=shape, initializer=initializer, name=f"{name}{end}")

        weights = score.add_weights(add, features, query)
        kernel = add("attention_kernel", (query + features, units)) if units else None
        of_state = type(score).__name__ if score.recalls else ""
        positions = number_of_positions(positions, memory, of_state, self.return_alignment)
        return _Branch(score, weights, kernel, units or features, positions)

    # -- The memories

    def _split(self, constants: Structure) -> tuple[Structure, list[Any]]:
        """The memories, and a mask or None for each."""
        if constants is not None:
            return memory_and_mask(constants)
        if self.learned_memory is None:
            raise ConfigurationError(
                "AttentionCell: there is nothing to attend to.\n"
                "  Call the layer with constants=memory, or with constants={'memory': memory,"
                " 'mask': mask}; memory is (batch, positions, features).\n"
                "  Where it is built by hand, pass constants_shape= to build; a memory that is"
                " the same for every row is learned with learned_memory=."
            )
        if self.built:
            return ops.convert_to_tensor(self.memory), [None]
        return keras.KerasTensor((1, *self.learned_memory), self.compute_dtype), [None]

    def prepare_constants(self, constants: Structure) -> Structure:
        """Keys and values of every memory, zero where they are masked; see `kcells.Cell`."""
        memory, masks = self._split(constants)
        memory = conform(memory, plain(self._outline), "memory", "AttentionCell")
        check_memory(memory)
        flat = zip(self._branches, tree.flatten(memory), masks, strict=True)
        memories = tuple(self._prepared(*of_branch) for of_branch in flat)
        takes = constants is not None and self.bound.takes("constants")
        return _Prepared(memories, (self.bound.prepare_constants(constants),) if takes else ())

    def _prepared(self, branch: _Branch, memory: Tensor, mask: Tensor | None) -> _Memory:
        memory = of_length(ops.cast(memory, self.compute_dtype), branch.positions)
        mask = flags(mask, memory)
        # Whatever stands there: zero times NaN would be NaN.
        memory = ops.where(ops.expand_dims(mask, -1), memory, ops.zeros_like(memory))
        return _Memory(memory, branch.score.keys(branch.weights, memory), mask)

    # -- A step

    def call(
        self,
        inputs: Structure,
        states: Structure,
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        known = constants if isinstance(constants, _Prepared) else self.prepare_constants(constants)
        x = ops.cast(tree.flatten(plain(inputs))[0], self.compute_dtype)
        joined = ops.concatenate([x, states["attention"]], axis=-1)
        outputs, entry = self.bound.step_entry(joined, states["cell"], training, known.for_cell)
        query = tree.flatten(plain(outputs))[0]
        recalled = iter(states.get("alignment", ()))
        attended, alignments = [], []
        for branch, memory in zip(self._branches, known.memories, strict=True):
            last = next(recalled) if branch.score.recalls else None
            alignments.append(self._aligned(branch, memory, query, last, training))
            attended.append(self._attended(branch, memory, query, alignments[-1]))
        attention = ops.concatenate(attended, axis=-1)
        new = {"attention": attention, "cell": entry}
        if "alignment" in states:
            pairs = zip(self._branches, alignments, strict=True)
            new["alignment"] = [shares for branch, shares in pairs if branch.score.recalls]
        outputs = attention if self.output_attention else query
        if self.return_alignment:
            outputs = [outputs, tree.pack_sequence_as(plain(self._outline), alignments)]
        return outputs, new

    def _aligned(
        self, branch: _Branch, memory: _Memory, query: Tensor, last: Tensor | None, training: bool
    ) -> Tensor:
        energies = branch.score.energies(branch.weights, query, memory.keys, last)
        dtype = keras.backend.standardize_dtype(energies.dtype)
        if dtype not in ("float32", "float64"):
            # Sums of shares are nothing for half precision.
            energies = ops.cast(energies, "float32")
        if branch.score.noise and training:
            energies = energies + branch.score.noise * keras.random.normal(
                ops.shape(energies), dtype=energies.dtype, seed=self.seed_generator
            )
        shares = branch.score.alignments(energies, memory.mask, last, training)
        return ops.cast(shares, dtype)

    def _attended(self, branch: _Branch, memory: _Memory, query: Tensor, shares: Tensor) -> Tensor:
        context = ops.squeeze(ops.matmul(ops.expand_dims(shares, 1), memory.values), 1)
        if branch.kernel is None:
            return context
        joined = ops.concatenate([query, context], axis=-1)
        return self.activation(ops.matmul(joined, branch.kernel))

    # -- Saving

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["score"] = tree.map_structure(keras.saving.serialize_keras_object, plain(self.score))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> kcells.Wrapper:
        score = keras.saving.deserialize_keras_object(config["score"], custom_objects)
        return super().from_config({**config, "score": score}, custom_objects)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        lstm, gru = keras.layers.LSTMCell, keras.layers.GRUCell
        memory = {"learned_memory": (5, 3)}
        return Card(
            [
                Case({"cell": lstm(4), **memory}, name="bahdanau"),
                Case(
                    {"cell": gru(4), "score": "luong", "attention_units": 3, **memory},
                    name="luong",
                ),
                Case(
                    {"cell": lstm(4), "score": "location", "return_alignment": True, **memory},
                    name="location",
                ),
                Case(
                    {
                        "cell": kcells.StackedCells([gru(3), gru(4)]),
                        "score": Monotonic(noise=0.0),
                        "output_attention": False,
                        **memory,
                    },
                    name="monotonic",
                ),
            ],
            others={
                "score": "luong",
                "attention_units": 6,
                "positions": 5,
                "learned_memory": (5, 2),
            },
            arguments=lambda at: {"cell": kcells.cell("lstm", at.units), "learned_memory": (8, 4)},
            gates="",
        )


_OF_EACH = ("score", "attention_units", "positions")
