"""The output of a cell as its next input."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import keras
from keras import ops, tree

import kcells
from kcells import Card, Case
from kcells.cells import BoundCell, built_outputs
from kcells.errors import ConfigurationError, StructureError
from kcells.structure import (
    Size,
    leaves_with_paths,
    map_leaves,
    outline,
    plain,
)
from kcells.types import Structure, Tensor
from kcells_plugin_wrappers.leafwise import LeafwiseCell
from kcells_plugin_wrappers.leaves import each

__all__ = ["FeedbackCell"]


@keras.saving.register_keras_serializable(package="kcells-plugin-wrappers")
class FeedbackCell(kcells.Wrapper):
    """Feeds what a cell gave at the last step back to it.

        z_t = f_{t-1} if own_t else x_t           f_0: the start value
        o_t, s_t = cell(z_t, s_{t-1})
        f_t = feed(o_t)

    In inference `own` is always true: the inputs say how many steps there are, and nothing else.
    In training they are the true values, each what f would be if the step before were right
    (teacher forcing), and own_t is drawn for every row and step, true with the rate `sampling`
    (scheduled sampling). The gradient goes through f.

    Where the inputs are a dict, `feed` may give some of its entries: the others, such as what is
    known of the future, are the layer's at every step.

    Papers: Williams and Zipser 1989, "A learning algorithm for continually running fully recurrent
    neural networks" (Neural Computation 1), section 3, for teacher forcing; Bengio, Vinyals, Jaitly
    and Shazeer 2015, "Scheduled sampling for sequence prediction with recurrent neural networks",
    arXiv:1506.03099, section 2.4.

    Other libraries: the `loop_fn` of `tf.nn.raw_rnn` makes the next input of the last output, as
    `feed` does; what it emits is the cell's output, and when a row ends is `lengths=` of the layer.
    Of TensorFlow Addons, `TrainingSampler` is `sampling=0.0` with `own_at_inference=False`;
    `ScheduledOutputTrainingSampler` is `sampling` with its `next_inputs_fn` as `feed`;
    `ScheduledEmbeddingTrainingSampler` and `GreedyEmbeddingSampler` have a layer as `feed` that
    draws from the scores, or takes the best, and looks the embedding up.

    Args:
        cell: the cell: a cell, an id, a class, or a list of these, which makes a stack.
        *args: for the constructor of the cell, where it is not made yet.
        feed: a layer or a function, from the outputs of a step to its next inputs. Its weights are
            those of the wrapper. A function is saved with a model if it is registered with
            `keras.saving.register_keras_serializable`. Default: None, the outputs themselves.
        start: f_0: a number, or a structure of numbers like what is fed. An int makes what is fed
            ints, such as tokens. Default: 0.0. It is trained with `train_initial_state=True` of the
            layer.
        sampling: the rate at which training feeds the cell's own outputs, from 0 to 1: a number,
            or a scalar `keras.Variable(0.0, trainable=False)` that a callback changes. Default:
            0.0.
        own_at_inference: whether inference feeds the cell's own outputs. Default: True.
        seed: an int for what is drawn, or None. Default: None.
        **kwargs: `name`, `dtype`, `trainable`; others for the constructor of the cell.

    Shapes: inputs and outputs those of the cell; states `{"cell": s, "fed": f}`, with f in the
    shapes of the inputs.

    Raises:
        ConfigurationError: if `sampling` is out of range, or `feed` or `start` is nothing of the
            kind.
        StructureError: if what is fed has not the shapes of the inputs.

    Examples:

    >>> import keras, kcells, numpy as np
    >>> feed = keras.layers.Dense(3)
    >>> layer = kcells.build("feedback", "lstm", 4, feed=feed, return_sequences=True)
    >>> steps = np.zeros((2, 10, 3), "float32")
    >>> layer(steps).shape == (2, 10, 4)
    True
    """

    def __init__(
        self,
        cell: Any,
        *args: Any,
        feed: Callable[[Structure], Structure] | None = None,
        start: Structure = 0.0,
        sampling: Any = 0.0,
        own_at_inference: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, *args, **kwargs)
        if feed is not None and not callable(feed):
            raise ConfigurationError(
                f"FeedbackCell: feed must be a layer or a function of the outputs; received"
                f" {feed!r}."
            )
        self.feed = feed
        self.start = plain(start)
        if not all(isinstance(one, Real) for one in tree.flatten(self.start)):
            raise ConfigurationError(
                f"FeedbackCell: start must be a number, or a structure of numbers like what is fed;"
                f" received {start!r}."
            )
        self.sampling = self._checked(sampling)
        self.own_at_inference = own_at_inference
        self.seed = seed
        draws = isinstance(sampling, keras.Variable) or 0 < sampling < 1
        self.seed_generator = keras.random.SeedGenerator(seed) if draws else None
        self._sizes: Any = None

    @staticmethod
    def _checked(sampling: Any) -> Any:
        if isinstance(sampling, keras.Variable):
            if tuple(sampling.shape) == () and not sampling.trainable:
                return sampling
        elif isinstance(sampling, Real) and 0.0 <= float(sampling) <= 1.0:
            return sampling
        raise ConfigurationError(
            "FeedbackCell: sampling must be a number from 0 to 1, or a scalar"
            f" keras.Variable(0.0, trainable=False); received {sampling!r}."
        )

    # -- States

    @property
    def state_size(self) -> Any:
        """The states of the cell, and the shapes of what is fed; None until it is built."""
        if self._sizes is None or self.cell.state_size is None:
            return None
        fed = map_leaves(lambda size, _: size.dims, self._sizes[0])
        return {"cell": self.bound.entry_size, "fed": fed}

    @state_size.setter
    def state_size(self, value: Any) -> None:
        raise AttributeError("state_size of FeedbackCell follows from its cell and its feed.")

    def get_initial_state(self, batch_size: Tensor | None = None) -> Structure:
        batch = 1 if batch_size is None else batch_size
        sizes = plain(self._sizes[0])
        starts = each(self.start, sizes, "start", "FeedbackCell")
        filled = [
            # Not ops.full: a file for ONNX from JAX knows none of any batch.
            ops.zeros(size.batched(batch), self._dtype_of(start))
            + (start if isinstance(start, int) else float(start))
            for size, start in zip(tree.flatten(sizes), starts, strict=True)
        ]
        return {
            "cell": self.bound.initial_entry(batch),
            "fed": tree.pack_sequence_as(sizes, filled),
        }

    def _dtype_of(self, start: Any) -> str:
        return "int32" if isinstance(start, int) else str(self.compute_dtype)

    # -- Weights

    def build(self, input_shape: Structure, constants_shape: Structure = None) -> None:
        """Builds the cell, and `feed` for what it gives."""
        inputs = self._specs(input_shape)
        outputs = built_outputs(self.bound, inputs, constants_shape)
        if isinstance(self.feed, keras.layers.Layer) and not self.feed.built:
            self.feed.build(map_leaves(lambda spec, _: tuple(spec.shape), outputs))
        fed = outputs
        if self.feed is not None:
            fed = built_outputs(BoundCell(_Feeding(self.feed), self), outputs, None)
        self._check_fed(fed, inputs)
        # In a tuple, whose entries Keras leaves as they are.
        self._sizes = (map_leaves(lambda spec, _: Size(tuple(spec.shape[1:])), fed),)
        self.built = True

    def _check_fed(self, fed: Structure, inputs: Structure) -> None:
        replaced = inputs
        if isinstance(fed, dict) and isinstance(inputs, dict):
            replaced = {key: inputs[key] for key in inputs if key in fed}
        mine, theirs = (
            [(path, tuple(leaf.shape[1:])) for path, leaf in leaves_with_paths(one, "fed")]
            for one in (fed, replaced)
        )
        if mine != theirs:
            raise StructureError(
                "FeedbackCell: what is fed must be like the inputs of a step, or some entries of a"
                f" dict of them.\n  inputs: {outline(inputs)}\n  fed:    {outline(fed)}\n"
                "  Pass feed= that makes the one of the other, such as keras.layers.Dense."
            )
        for spec, start in zip(
            tree.flatten(fed), each(self.start, fed, "start", "FeedbackCell"), strict=True
        ):
            if ("int" in spec.dtype) != isinstance(start, int):
                raise ConfigurationError(
                    f"FeedbackCell: what is fed is {spec.dtype}, and start is {start!r}.\n"
                    "  Pass an int as start for ints, and a float for floats."
                )

    # -- A step

    def call(
        self,
        inputs: Structure,
        states: Structure,
        training: bool = False,
        constants: Structure = None,
    ) -> tuple[Structure, Structure]:
        old = plain(states["fed"])
        seen = self._seen(plain(inputs), old, training)
        outputs, entry = self.bound.step_entry(seen, states["cell"], training, constants)
        fed = plain(outputs if self.feed is None else self.feed(outputs))
        fed = tree.map_structure(lambda new, like: ops.cast(new, like.dtype), fed, old)
        return outputs, {"cell": entry, "fed": fed}

    def _seen(self, inputs: Structure, fed: Structure, training: bool) -> Structure:
        """What the cell sees: the inputs, or what is fed in their place."""
        rows = None
        if training and self.seed_generator is not None:
            batch = ops.shape(tree.flatten(fed)[0])[0]
            drawn = keras.random.uniform((batch,), dtype="float32", seed=self.seed_generator)
            rows = drawn < ops.cast(self.sampling, "float32")
        elif not (self.sampling if training else self.own_at_inference):
            return inputs

        def either(x: Tensor, f: Tensor) -> Tensor:
            if rows is None:
                return f
            wide = ops.reshape(rows, (-1, *([1] * (len(f.shape) - 1))))
            return ops.where(wide, f, ops.cast(x, f.dtype))

        if not isinstance(fed, dict):
            return tree.map_structure(either, inputs, fed)
        return {**inputs, **{key: tree.map_structure(either, inputs[key], fed[key]) for key in fed}}

    # -- Saving

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.feed is not None:
            config["feed"] = keras.saving.serialize_keras_object(self.feed)
        if isinstance(self.sampling, keras.Variable):
            config["sampling"] = {"variable": float(ops.convert_to_numpy(self.sampling))}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> kcells.Wrapper:
        config = dict(config)
        if config.get("feed") is not None:
            config["feed"] = keras.saving.deserialize_keras_object(config["feed"], custom_objects)
        if isinstance(config.get("sampling"), dict):
            start = config["sampling"]["variable"]
            config["sampling"] = keras.Variable(start, trainable=False, name="sampling")
        return super().from_config(config, custom_objects)

    @classmethod
    def card(cls) -> Card:
        """What there is to know of the cell besides the code; see `kcells.Card`."""
        dense, leafwise = keras.layers.Dense, LeafwiseCell({"a": 2})
        return Card(
            [
                Case({"cell": keras.layers.LSTMCell(3), "start": 0.5}, name="outputs"),
                Case(
                    {"cell": keras.layers.GRUCell(4), "feed": dense(3), "own_at_inference": False},
                    name="inputs",
                ),
                Case({"cell": leafwise, "start": {"a": 0.5}}, inputs={"a": (2,)}, name="structure"),
            ],
            others={"feed": dense(3), "start": 0.25, "sampling": 0.5},
            arguments=lambda at: {
                "cell": kcells.cell("lstm", at.units),
                "feed": dense(at.features),
            },
            gates="",
        )


class _Feeding:
    """`feed` as a cell, for a trace of it."""

    state_size: ClassVar = {"nothing": ()}

    def __init__(self, feed: Callable[[Structure], Structure]) -> None:
        self._feed = feed

    def call(self, inputs: Structure, states: Structure) -> tuple[Structure, Structure]:
        return self._feed(inputs), states
