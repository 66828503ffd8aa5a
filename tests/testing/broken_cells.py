"""Cells that break a law, each in a way in which people do break it.

`BROKEN` has them all. A cell here is a sound one with one thing changed, and the note of its
`breaks` says what the change is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from sound_cells import Curved, Leaky, Memory, Pair, registered

import kcells

__all__ = ["BROKEN", "Broken"]


@dataclasses.dataclass(frozen=True)
class Broken:
    """A cell and the law that it breaks.

    Attributes:
        cell: the class.
        law: the name of the law.
        leaf: what the report has to point at.
        says: a part of the reason.
        unseen: the backends that cannot see it, with the reason.
    """

    cell: type
    law: str
    leaf: str
    says: str
    unseen: Mapping[str, str] = dataclasses.field(default_factory=dict)


BROKEN: list[Broken] = []


def breaks(law: str, leaf: str, says: str, **unseen: str) -> Callable[[type], type]:
    """Registers a class, with Keras too, as one that breaks `law`."""

    def decorate(cls: type) -> type:
        BROKEN.append(Broken(cls, law, leaf, says, unseen))
        return cls if law == "registration" else registered(cls)

    return decorate


# -- docstring


@breaks("docstring", "docstring", "the class NoDocstring has no docstring of its own")
class NoDocstring(Leaky):
    pass


@breaks("docstring", "docstring", "no equation")
class NoEquation(Leaky):
    """A leaky sum, from 2026; units, dropout, seed.

    Examples:

        >>> cell = NoEquation(4)
    """


@breaks("docstring", "docstring", "names no source")
class NoSource(Leaky):
    """A leaky sum; units, dropout, seed.

        h_t = decay * h_{t-1} + x_t kernel

    Everybody knows it.
    """


@breaks("docstring", "slope", "says nothing about the argument slope")
class SilentArgument(Leaky):
    """A leaky sum.

        h_t = decay * h_{t-1} + x_t kernel

    Source: written for these tests in 2026.

    Args:
        units: the size of state and output.
    """

    def __init__(self, units, slope=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.slope = slope


# -- arguments, config, clone, saving


@breaks("arguments", "dropout", "get_config leaves out dropout")
class ForgetsArgument(Leaky):
    def get_config(self):
        config = super().get_config()
        del config["dropout"]
        return config


@breaks("config", "units", "units is 4 before and 5 after")
class GrowsInConfig(Leaky):
    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "units": config["units"] + 1})


@breaks("config", "seed", "seed is 3 before and None after")
class IgnoresSeedInConfig(Leaky):
    def __init__(self, units, dropout=0.0, seed=3, **kwargs):
        super().__init__(units, dropout, seed, **kwargs)

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "seed": None})


@breaks("config", "get_config", "what JSON cannot")
class UnsavableConfig(Leaky):
    def get_config(self):
        return {**super().get_config(), "seed": object()}


@breaks("config", "outputs", "after from_config")
class SettingOutsideOfConfig(Leaky):
    """What is set after the constructor is lost."""

    scale = 2.0

    @classmethod
    def from_config(cls, config):
        cell = super().from_config(config)
        cell.scale = 1.0
        return cell

    def project_inputs(self, inputs, training=False):
        return self.scale * super().project_inputs(inputs, training)


@breaks("survival", "dropout", "dropout=0.1 was given, and get_config says 0.0, as it does without")
class ForgetsWhatWasGiven(Leaky):
    def __init__(self, units, dropout=0.0, seed=None, **kwargs):
        super().__init__(units, 0.0, seed, **kwargs)


class Regularized(kcells.StandardCell):
    """A sound one, with the usual arguments."""

    def add_weights(self, features):
        self.kernel = self.add("kernel", (features, self.units))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, self.units))
        self.bias = self.add("bias", (self.units,))

    def step(self, projected, states, training=False):
        state = ops.tanh(projected + ops.matmul(states[0], self.recurrent_kernel))
        return state, [state]


@breaks(
    "weight_arguments",
    "recurrent_kernel",
    "recurrent_initializer is for recurrent_kernel, and recurrent_regularizer for no weight",
)
class ForgetsARegularizer(Regularized):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.recurrent_regularizer = None


@breaks("weight_arguments", "bias", "bias_initializer and kernel_initializer both are for bias")
class StartsBiasesAsTheKernel(Regularized):
    def add_weights(self, features):
        super().add_weights(features)
        both = self.bias_initializer, self.kernel_initializer
        if self.kernel_regularizer is not None:
            self.bias.regularizer = self.kernel_regularizer
        if self.kernel_constraint is not None:
            self.bias.constraint = self.kernel_constraint
        start = sum(ops.cast(i((self.units,)), "float32") for i in both)
        self.bias.assign(start)


@breaks("clone", "outputs", "in a clone")
class WeightsInRandomOrder(Leaky):
    """Every second cell makes its weights in another order."""

    made = 0

    def build(self, input_shape):
        type(self).made += 1
        names = ("first", "second") if self.made % 2 else ("second", "first")
        for name in names:
            weight = self.add_weight(shape=(input_shape[-1], self.units), name=name)
            setattr(self, name, weight)
        super().build(input_shape)

    def project_inputs(self, inputs, training=False):
        return ops.matmul(inputs, self.first) - 2.0 * ops.matmul(inputs, self.second)


@breaks("saving", "outputs", "from the .keras file")
class HashOfAProcess(Leaky):
    """`hash` of a text is another one in each process."""

    def __init__(self, units, dropout=0.0, seed=None, **kwargs):
        super().__init__(units, dropout, seed, **kwargs)
        self.scale = 1.5 + hash("kcells") / 2**63

    def project_inputs(self, inputs, training=False):
        return self.scale * super().project_inputs(inputs, training)


@breaks("saving", "outputs", "from the weights file")
class KeepsItsWeights(Leaky):
    """Takes weights from a file once."""

    taken = False

    def load_own_variables(self, store):
        if not self.taken:
            super().load_own_variables(store)
        self.taken = True


# -- registration


@breaks("registration", "class", "is not registered")
class NotRegistered(Leaky):
    pass


@breaks("registration", "class", "is registered under 'Custom'")
@keras.saving.register_keras_serializable()
class RegisteredAsCustom(Leaky):
    pass


# -- state_size, output_size, initial_state


@breaks("state_size", "states[0]", "states[0]: the shape is (3, 4), and (3, 5) is declared")
class WrongStateSize(Curved):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size = units + 1

    def step(self, projected, states, training=False):
        return super().step(projected, [states[0][:, :-1]], training)


@breaks("state_size", "states[0]", "states[0]: the shape is (3, 2, 3), and (3, 4) is declared")
class StatesInWrongOrder(Pair):
    def call(self, inputs, states):
        outputs, (slow, frame) = super().call(inputs, states)
        return outputs, [frame, slow]


@breaks("state_size", "", "the new states of ForgetsAState")
class ForgetsAState(Pair):
    def call(self, inputs, states):
        outputs, (slow, _) = super().call(inputs, states)
        return outputs, [slow]


@breaks("state_size", "states[0]", "the dtype is float16, and the cell computes in float32")
class HalfState(Curved):
    def step(self, projected, states, training=False):
        h, _ = super().step(projected, [ops.cast(states[0], "float32")], training)
        return h, [ops.cast(h, "float16")]


@breaks("output_size", "outputs", "outputs: the shape is (3, 4), and (3, 8) is declared")
class WrongOutputSize(Leaky):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.output_size = 2 * units


@breaks("output_size", "outputs", "outputs are a dict")
class OneOutputDeclared(Pair):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.output_size = units


@breaks(
    "initial_state",
    "initial states[0]",
    "the shape is (3, 5), and (3, 4) is declared",
)
class WrongInitialState(Curved):
    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, self.units + 1))]

    def step(self, projected, states, training=False):
        return super().step(projected, [states[0][:, : self.units]], training)


@breaks("initial_state", "initial states[0]", "initial states[0]: the dtype is float64")
class DoubleInitialState(Curved):
    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, self.units), dtype="float64")]


# -- inference, side_effects, seeds, dropout


@breaks("inference", "outputs", "from one call to the next")
class AlwaysNoisy(Leaky):
    def __init__(self, units, dropout=0.0, seed=None, **kwargs):
        super().__init__(units, dropout, seed, **kwargs)
        self.noise = keras.random.SeedGenerator(seed)

    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        return projected + keras.random.normal(ops.shape(projected), seed=self.noise)


@breaks("inference", "outputs", "from one call to the next")
class CountsInPython(Curved):
    calls = 0

    def step(self, projected, states, training=False):
        self.calls += 1
        return super().step(projected * (1.0 + 0.01 * self.calls), states)


@breaks("side_effects", "weight counter", "weight counter differs after a call")
class CountsInAVariable(Leaky):
    """As batch normalization does, and in inference too."""

    def build(self, input_shape):
        super().build(input_shape)
        self.counter = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="counter"
        )

    def project_inputs(self, inputs, training=False):
        self.counter.assign_add(1.0)
        return super().project_inputs(inputs, training)


class _Unseeded(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        values = np.random.default_rng().normal(size=shape)
        return ops.convert_to_tensor(values, dtype)

    def get_config(self):
        return {}


@breaks("seeds", "initial weights[3]", "from one construction to the next")
class NumpyInitializer(Leaky):
    def build(self, input_shape):
        super().build(input_shape)
        self.gain = self.add_weight(shape=(self.units,), initializer=_Unseeded(), name="gain")

    def project_inputs(self, inputs, training=False):
        return super().project_inputs(inputs, training) * self.gain


@breaks("seeds", "outputs", "in training, for one seed=7")
class IgnoresSeed(Leaky):
    def __init__(self, units, dropout=0.0, seed=None, **kwargs):
        super().__init__(units, dropout, **kwargs)
        self.seed = seed


@breaks("seeds", "outputs", "in training, after the same seed")
class MasksOfNumpy(Leaky):
    def project_inputs(self, inputs, training=False):
        if training and self.dropout:
            kept = np.random.default_rng().random(inputs.shape[-1])
            inputs = inputs * ops.convert_to_tensor(kept, "float32")
        return super().project_inputs(inputs)


@breaks("dropout", "outputs", "outputs differ in inference with dropout=0.5")
class DropsInInference(Leaky):
    def project_inputs(self, inputs, training=False):
        return super().project_inputs(inputs, training=True)


@breaks("dropout", "dropout", "dropout=0.5 changes nothing in training")
class NeverDrops(Leaky):
    def project_inputs(self, inputs, training=False):
        return super().project_inputs(inputs)


@breaks("dropout", "dropout", "dropout=0.5 drops the same in every sequence")
class DropsTheSame(Leaky):
    def project_inputs(self, inputs, training=False):
        if training and self.dropout:
            inputs = keras.random.dropout(inputs, self.dropout, seed=1)
        return super().project_inputs(inputs)


# -- loop, mask, batch, causality, chunking: what looks beyond its step or its sample


def has_time(inputs: Any) -> bool:
    """Whether these are the inputs of all steps."""
    return len(inputs.shape) == 3


@breaks("loop", "outputs", "outputs differ from the cell alone")
class NormalizesOverTime(Curved):
    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        return projected - ops.mean(projected, axis=0) if has_time(inputs) else projected


@breaks("mask", "states[0]", "in row 0 of the batch, under the mask")
class SeesMaskedSteps(Leaky):
    """Each input is added to the next one, if it is there."""

    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        if not has_time(inputs):
            return projected
        before = ops.concatenate([ops.zeros_like(projected[:1]), projected[:-1]], axis=0)
        return projected + before


@breaks("mask", "states[1]", "in row 0 of the batch, under the mask")
class CountsSteps(Memory):
    """Its clock is no state: it is the variable of a layer that goes on under a mask."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.clock = 0

    def call(self, inputs, states):
        self.clock += 1
        h, (c, _) = super().call(inputs, states)
        h = h * (1.0 + 0.1 * (self.clock % 7))
        return h, [c, h]


@breaks("batch", "outputs", "in a permuted batch")
class FlipsTheBatch(Curved):
    def step(self, projected, states, training=False):
        return super().step(projected + ops.flip(projected, axis=0), states)


@breaks("batch", "outputs", "in a batch of one")
class NormalizesOverTheBatch(Curved):
    def step(self, projected, states, training=False):
        return super().step(projected - ops.mean(projected, axis=0, keepdims=True), states)


@breaks("causality", "outputs", "outputs differ before step 1")
class LooksAhead(Leaky):
    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        return projected + ops.flip(projected, axis=0) if has_time(inputs) else projected


@breaks("chunking", "states[0]", "after two pieces")
class SumsOverTime(Leaky):
    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        return ops.cumsum(projected, axis=0) if has_time(inputs) else projected


# -- project_inputs, linear_recurrence, equivalent, paths


@breaks("project_inputs", "outputs", "at step 1 of inputs with a time axis, training=False")
class SumsOverTimeAgain(Leaky):
    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        return ops.cumsum(projected, axis=0) if has_time(inputs) else projected


@breaks("project_inputs", "outputs", "of inputs with a time axis, training=False")
class NoTimeAxis(Leaky):
    def project_inputs(self, inputs, training=False):
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))
        return super().project_inputs(flat, training)


@breaks("linear_recurrence", "outputs", "from the read-out")
class OtherCoefficient(Curved):
    """Its step is not that of its coefficients."""

    def step(self, projected, states, training=False):
        h = projected + ops.square(self.decay) * states[0]
        return h, [h]

    def linear_recurrence(self, projected):
        return super().linear_recurrence(projected)


@breaks("linear_recurrence", "outputs", "from the read-out")
class ReadsOutLess(Leaky):
    def step(self, projected, states, training=False):
        h = projected + self.decay * states[0]
        return h * ops.tanh(projected), [h]

    def linear_recurrence(self, projected):
        return super().linear_recurrence(projected)


@breaks("linear_recurrence", "states[0]", "states[0] differs after all steps")
class DecaysWithTheIndex(Leaky):
    """A coefficient that is right for one step alone, and outputs that do not show it."""

    def linear_recurrence(self, projected):
        decay = ops.ones_like(projected) * self.decay
        if has_time(projected):
            decay = ops.cumprod(decay, axis=0)
        return kcells.LinearRecurrence([decay], [projected], lambda states, x: x)


@breaks("equivalent", "outputs", "between the cell and the lstm that it declares")
class WrongGateOrder(Memory):
    def builtin_weights(self):
        return [self.kernel, self.recurrent_kernel, self.bias]


@breaks("equivalent", "outputs", "between the cell and the lstm that it declares")
class WrongOrderOfStates(Memory):
    builtin_states = None


@breaks("equivalent", "outputs", "between the cell and the simple_rnn that it declares")
class WrongBias(Curved):
    def builtin_weights(self):
        kernel, recurrent, bias = super().builtin_weights()
        return [kernel, recurrent, -bias]


@breaks("equivalent", "outputs", "between the cell and the simple_rnn that it declares")
class WrongActivation(Curved):
    activation = "linear"


@breaks("equivalent", "gradient of weight kernel", "the simple_rnn that it declares")
class WeightsWithoutGradient(Curved):
    def builtin_weights(self):
        return [ops.stop_gradient(w) for w in super().builtin_weights()]


@breaks("equivalent", "weights", "needed are [(3, 4), (4, 4), (4,)]")
class OneWeightTooFew(Curved):
    def builtin_weights(self):
        return super().builtin_weights()[:2]


@breaks("paths", "outputs", "between the plain loop and the usual options")
class OtherInTheLoop(Leaky):
    """A step of its own, which is not what its coefficients say."""

    def step(self, projected, states, training=False):
        h = projected + 0.5 * self.decay * states[0]
        return h, [h]

    def linear_recurrence(self, projected):
        return super().linear_recurrence(projected)


# -- gradients, finite_differences, mixed_precision


@breaks("gradients", "weight spare", "the gradient of weight spare is zero")
class UnusedWeight(Leaky):
    def build(self, input_shape):
        super().build(input_shape)
        self.spare = self.add_weight(shape=(self.units,), name="spare")


@breaks("gradients", "weight bias", "from the cell's own initial state, the gradient of")
class NormOfZero(Curved):
    """The norm has no derivative at zero, where its state starts."""

    def step(self, projected, states, training=False):
        norm = ops.sqrt(ops.sum(ops.square(states[0] * self.bias), axis=-1, keepdims=True))
        return super().step(projected + norm, states)


@breaks("finite_differences", "weight kernel", "the gradient of weight kernel is")
class CutsTheState(Curved):
    def step(self, projected, states, training=False):
        return super().step(projected, [ops.stop_gradient(states[0])])


@breaks("finite_differences", "inputs", "the gradient of inputs is")
class StraightThrough(Curved):
    """Rounds, and says that it did not."""

    def project_inputs(self, inputs, training=False):
        rounded = inputs + ops.stop_gradient(ops.round(inputs) - inputs)
        return super().project_inputs(rounded, training)


@breaks("finite_differences", "weight kernel", "the gradient of weight kernel is")
class SinglePrecision(Curved):
    def project_inputs(self, inputs, training=False):
        projected = super().project_inputs(inputs, training)
        return ops.cast(ops.cast(projected, "float32"), projected.dtype)


@breaks("finite_differences", "weight kernel", "the gradient of weight kernel is")
class HalfOfTheGradient(Curved):
    def step(self, projected, states, training=False):
        projected = 0.5 * projected + ops.stop_gradient(0.5 * projected)
        return super().step(projected, states)


@breaks("mixed_precision", "outputs of a step", "outputs of a step is float32, not bfloat16")
class SingleOutput(Curved):
    def step(self, projected, states, training=False):
        h, states = super().step(projected, states)
        return ops.cast(h, "float32"), states


@breaks("mixed_precision", "weight kernel", "weight kernel is bfloat16, not float32")
class HalfWeights(Curved):
    def build(self, input_shape):
        super().build(input_shape)
        shape = (input_shape[-1], self.units)
        dtype = self.compute_dtype
        self.kernel = self.add_weight(shape=shape, dtype=dtype, name="kernel")


@breaks("mixed_precision", "outputs", "numbers are not finite")
class TooSmallEpsilon(Curved):
    """In half precision 1 + 1e-4 is 1, and the logarithm of zero is not finite."""

    def step(self, projected, states, training=False):
        h, states = super().step(projected, states)
        gap = ops.square(1.0 + 1e-4 * ops.sigmoid(projected)) - 1.0
        return h + 0.1 * ops.log(gap), states


# -- wrappers, stock, compiled, dynamic_shapes, backends


@breaks("stock", "outputs", "in keras.layers.RNN")
class StartsElsewhereForKeras(Leaky):
    """Keras 2 passed a dtype, Keras 3 passes none."""

    def get_initial_state(self, batch_size=None, dtype=None):
        start = 0.0 if dtype is None else 1.0
        return [ops.full((batch_size, self.units), start, dtype=self.compute_dtype)]


@breaks("wrappers", "outputs", "in Bidirectional")
class SharedKernel(Curved):
    """What the class holds, all of its cells share."""

    shared: Any = None

    def add_weight(self, *args, name=None, **kwargs):
        cls = type(self)
        if name != "kernel":
            return super().add_weight(*args, name=name, **kwargs)
        if cls.shared is None:
            cls.shared = super().add_weight(*args, name=name, **kwargs)
        return cls.shared


_EAGER = "Keras compiles nothing there"


@breaks("compiled", "", "", torch=_EAGER)
class LeavesTheGraph(Curved):
    def step(self, projected, states, training=False):
        largest = float(np.max(ops.convert_to_numpy(projected)))
        return super().step(projected / max(largest, 1.0), states)


@breaks("compiled", "", "", torch=_EAGER)
class BranchesOnNumbers(Curved):
    def step(self, projected, states, training=False):
        if ops.sum(projected) > 0:
            projected = -projected
        return super().step(projected, states)


_KNOWN = "every shape is known when a step runs there"


@breaks("dynamic_shapes", "", "", torch=_KNOWN, jax=_KNOWN)
class NeedsTheBatchSize(Curved):
    def step(self, projected, states, training=False):
        ones = ops.convert_to_tensor(np.ones((projected.shape[0], 1), "float32"))
        return super().step(projected * ones, states)


@breaks("dynamic_shapes", "", "")
class OneBatchSize(Curved):
    def step(self, projected, states, training=False):
        return super().step(projected + ops.ones((3, self.units)), states)


@breaks("backends", "outputs", "between")
class DependsOnTheBackend(Curved):
    """`elsewhere` stands for another backend."""

    elsewhere = False

    def step(self, projected, states, training=False):
        return super().step(1.01 * projected if self.elsewhere else projected, states)
