"""What the well-known guides to RNNs in Keras show, told in kcells.

Run it from top to bottom (about a minute):

    python examples/guide.py
    KERAS_BACKEND=jax python examples/guide.py        # or torch

Each section is a function: its docstring is the text, its code the example. It prints
what there is to see and returns it, so that it can be called from a notebook too.

The subjects are those of "Working with RNNs" (Keras), of the tables of input and output
shapes that go around for `tf.keras`, and of the textbook example that reads images row
by row, here with the 8x8 digits that scikit-learn ships.
"""
# ruff: noqa: T201  # a script talks to its reader with print

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kcells

Result = dict[str, Any]
"""What a section leaves for its reader: models, tensors, shapes and numbers by name."""

BACKEND = keras.backend.backend()


def built_in_layers() -> Result:
    """Built-in layers.

    `kcells.build` makes a recurrent layer from the name of a cell. The three cells of
    Keras are there under "lstm", "gru" and "simple_rnn"; cells of plugins are built in
    the same way. The layer goes wherever a Keras layer goes, and for "lstm" it is a
    `keras.layers.LSTM`: here it reads the vectors of an embedding and hands its last output
    to a classifier.
    """
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(input_dim=1000, output_dim=64),
            kcells.build("lstm", 128),
            layers.Dense(10),
        ]
    )
    model.summary()
    return {"model": model}


def layer_options() -> Result:
    """Options of a layer and of its cell.

    `build` sorts keyword arguments by who takes them: `dropout` and `recurrent_dropout` go
    to the cell, `go_backwards` and `unroll` to the layer. Reading backwards is reading the
    reversed sequence; an unrolled loop computes what a rolled one does.
    """
    sequences = _random((2, 5, 4))
    layer = kcells.build("gru", 3, dropout=0.2, recurrent_dropout=0.2)
    plain = layer(sequences)
    training = layer(sequences, training=True)
    backwards = _same_weights("gru", layer, sequences, go_backwards=True)
    unrolled = _same_weights("gru", layer, sequences, unroll=True)
    differences = {
        "dropout in training": _difference(training, plain),
        "backwards, against the reversed input": _difference(
            backwards(sequences[:, ::-1].copy()), plain
        ),
        "unrolled, against the loop": _difference(unrolled(sequences), plain),
    }
    _print_table(differences)
    return {"layer": layer, "differences": differences}


def outputs() -> Result:
    """Outputs: the last one, or all.

    Without options a layer gives one vector a sample, `(batch, units)`. With
    `return_sequences` it gives one a step, `(batch, time, units)`, which is what a second
    recurrent layer on top of it wants.
    """
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(input_dim=1000, output_dim=64),
            kcells.build("gru", 256, return_sequences=True),
            kcells.build("simple_rnn", 128),
            layers.Dense(10),
        ]
    )
    model.summary()
    return {"model": model}


def states() -> Result:
    """States: an encoder starts a decoder.

    With `return_state` a layer also gives its final states: two for an LSTM, one for a
    GRU. Another layer starts from them if it gets them as `initial_state`, which has the
    structure of the cell's `state_size`.
    """
    encoder_input = keras.Input((None,), dtype="int32", name="encoder_tokens")
    embedded = layers.Embedding(input_dim=1000, output_dim=64)(encoder_input)
    encoder = kcells.build("lstm", 64, return_state=True, name="encoder")
    _, state_h, state_c = encoder(embedded)

    decoder_input = keras.Input((None,), dtype="int32", name="decoder_tokens")
    embedded = layers.Embedding(input_dim=2000, output_dim=64)(decoder_input)
    decoder = kcells.build("lstm", 64, name="decoder")
    decoded = decoder(embedded, initial_state=[state_h, state_c])

    model = keras.Model([encoder_input, decoder_input], layers.Dense(10)(decoded))
    model.summary()
    return {"model": model}


def cells() -> Result:
    """Layers and cells.

    A cell computes one time step; `kcells.RNN` is the loop around it. So these are one and
    the same function, once they have the same weights: the layer built by name, the loop
    around the cell, and the LSTM layer of Keras. A list of names is a stack of cells, which
    is run in one loop.
    """
    sequences = _random((8, 6, 4))
    by_name = kcells.build("lstm", 10)
    around_cell = kcells.RNN(layers.LSTMCell(10))
    of_keras = layers.LSTM(10)
    for layer in (by_name, around_cell, of_keras):
        layer.build(sequences.shape)
        layer.set_weights(by_name.get_weights())
    expected = by_name(sequences)
    differences = {
        "kcells.RNN(LSTMCell)": _difference(around_cell(sequences), expected),
        "keras.layers.LSTM": _difference(of_keras(sequences), expected),
    }
    _print_table(differences)
    stack = kcells.build(["lstm", "gru"], 10)
    stacked = stack(sequences)
    print(f'  a stack of "lstm" and "gru": {_shape(stacked)}, state {stack.cell.state_size}')
    return {"differences": differences, "stack": stack, "stacked": stacked}


def one_step_by_hand() -> Result:
    """What a cell computes.

    The gates of an LSTM and of a GRU, written out once in NumPy: f forgets, i lets in,
    o lets out, g (or n) is the candidate; z updates and r resets.
    """
    x, h, c = _random((2, 4)), _random((2, 3)), _random((2, 3))
    lstm = kcells.cell("lstm", 3)
    lstm.build((None, 4))
    kernel, recurrent_kernel, bias = lstm.get_weights()
    i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    new_c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    new_h = _sigmoid(o) * np.tanh(new_c)
    _, (lstm_h, lstm_c) = lstm(x, [h, c])

    gru = kcells.cell("gru", 3, reset_after=False)
    gru.build((None, 4))
    kernel, recurrent_kernel, bias = gru.get_weights()
    input_z, input_r, input_n = np.split(x @ kernel + bias, 3, axis=-1)
    kernel_z, kernel_r, kernel_n = np.split(recurrent_kernel, 3, axis=-1)
    z, r = _sigmoid(input_z + h @ kernel_z), _sigmoid(input_r + h @ kernel_r)
    gru_by_hand = z * h + (1 - z) * np.tanh(input_n + (r * h) @ kernel_n)
    gru_h, _ = gru(x, [h])

    differences = {
        "lstm, h": _difference(lstm_h, new_h),
        "lstm, c": _difference(lstm_c, new_c),
        "gru, h": _difference(gru_h, gru_by_hand),
    }
    _print_table(differences)
    return {"differences": differences}


def statefulness() -> Result:
    """Statefulness across batches.

    A long sequence is read in pieces by a layer with `stateful=True`, which starts each
    piece where the last one ended. Sample i of a batch must go on with sample i of the batch
    before, so the batch size is fixed. `reset_state` forgets.
    """
    paragraphs = _random((3, 20, 10, 50))
    layer = kcells.build("lstm", 64, stateful=True)
    in_pieces = [layer(paragraph) for paragraph in paragraphs]
    whole = _same_weights("lstm", layer, paragraphs[0])
    at_once = whole(np.concatenate(list(paragraphs), axis=1))
    layer.reset_state()
    again = layer(paragraphs[0])

    long_sequence = _random((2, 1548, 8))
    reader = kcells.build("gru", 16, stateful=True)
    for piece in np.array_split(long_sequence, 12, axis=1):
        last = reader(piece)
    differences = {
        "three pieces, against all at once": _difference(in_pieces[-1], at_once),
        "after reset_state, against the first time": _difference(again, in_pieces[0]),
        "1548 steps in 12 pieces, against all at once": _difference(
            last, _same_weights("gru", reader, long_sequence)(long_sequence)
        ),
    }
    _print_table(differences)
    return {"layer": layer, "differences": differences}


def state_reuse() -> Result:
    """A state for another layer.

    The remembered states are no weights; they are in `layer.states`, and another layer may
    start from them.
    """
    paragraphs = _random((3, 20, 10, 50))
    layer = kcells.build("lstm", 64, stateful=True)
    layer(paragraphs[0])
    layer(paragraphs[1])
    new_layer = _same_weights("lstm", layer, paragraphs[2])
    output = new_layer(paragraphs[2], initial_state=layer.states)
    differences = {"against the stateful layer itself": _difference(output, layer(paragraphs[2]))}
    _print_table(differences)
    return {"layer": layer, "output": output, "differences": differences}


def both_directions() -> Result:
    """Both directions.

    `kcells.Bidirectional` runs a layer and a copy of it that reads backwards. Their outputs
    are concatenated unless `merge_mode` says otherwise, so there are twice as many units.
    """
    model = keras.Sequential(
        [
            keras.Input((5, 10)),
            kcells.Bidirectional(kcells.build("lstm", 64, return_sequences=True)),
            kcells.Bidirectional(kcells.build("lstm", 32)),
            layers.Dense(10),
        ]
    )
    model.summary()
    sequences = _random((2, 5, 10))
    shapes = {
        f"merge_mode={mode!r}": _shapes(
            kcells.Bidirectional(kcells.build("lstm", 32), merge_mode=mode)(sequences)
        )
        for mode in ("concat", "sum", "ave", "mul", None)
    }
    _print_table(shapes)
    return {"model": model, "shapes": shapes}


def shape_tables() -> Result:
    """What goes in and out, shape by shape.

    N sequences of T steps with C channels, and H units.
    """
    n, t, c, h = 2, 3, 4, 1
    x = _random((n, t, c))
    options: list[Result] = [
        {"return_state": state, "return_sequences": sequences}
        for sequences in (False, True)
        for state in (False, True)
    ]
    print(f"  N={n}, T={t}, C={c}, H={h}; inputs {x.shape}")
    results: Result = {}
    for name in ("lstm", "gru"):
        for chosen in options:
            named = ", ".join(key for key, on in chosen.items() if on) or "no option"
            results[f"{name}, {named}"] = kcells.build(name, h, **chosen)(x)
    state = _random((n, h))
    results["lstm cell"] = kcells.cell("lstm", h)(x[:, 0, :], states=[state, state])
    results["gru cell"] = kcells.cell("gru", h)(x[:, 0, :], states=state)
    for name in ("lstm", "gru", "simple_rnn"):
        results[f"Bidirectional, {name}"] = kcells.Bidirectional(kcells.build(name, h))(x)
    shapes = {name: _shapes(result) for name, result in results.items()}
    _print_table(shapes)
    return {"results": results, "shapes": shapes}


def rows_of_images() -> Result:
    """An image, row by row.

    A picture is a sequence of rows. A small recurrent layer of 16 units reads it from top to
    bottom and names the digit. For MNIST (28 rows of 28) it has 890 parameters; it is trained
    here on digits of 8 rows of 8.
    """
    mnist_model = _row_model(28, 28)
    mnist_model.summary()
    (x_train, y_train), (x_test, y_test) = _digits()
    model = _row_model(8, 8)
    model.compile(
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.RMSprop(learning_rate=0.01),
        metrics=["accuracy"],
    )
    one_hot_train, one_hot_test = (keras.utils.to_categorical(y, 10) for y in (y_train, y_test))
    model.fit(x_train, one_hot_train, batch_size=100, epochs=20, verbose=2)
    loss, accuracy = model.evaluate(x_test, one_hot_test, verbose=0)
    print(f"  test loss {loss:.4f}, test accuracy {accuracy:.4f}")
    return {"mnist_model": mnist_model, "model": model, "loss": loss, "accuracy": accuracy}


def performance() -> Result:
    """Layer or loop around a cell: the same result, and which path.

    `kcells.build("lstm")` makes a layer that may hand the whole sequence to a kernel: cuDNN
    on an NVIDIA GPU, PyTorch's own on a CPU, and a loop where there is none, as in TensorFlow
    and JAX on a CPU. `kcells.RNN` around an LSTMCell takes one step at a time wherever it
    runs. `kcells.explain` says which path and which kernel, and why; what a kernel asks for
    (tanh, sigmoid, biases, no recurrent dropout, no unrolling) is listed there, and a mask
    of any kind is no hindrance. Weights go over from one model to the other; then the
    predictions are the same, and the second model trains on from there. One run is no
    measurement: examples/fused_vs_cell.py compares the times with more care.
    """
    (x_train, y_train), (x_test, y_test) = _digits()
    by_name = _classifier(kcells.build("lstm", 64))
    around_cell = _classifier(kcells.RNN(layers.LSTMCell(64)))
    data: Result = {"x": x_train, "y": y_train, "batch_size": 64, "epochs": 5, "verbose": 2}
    data["validation_data"] = (x_test, y_test)
    seconds = {"build('lstm')": _timed(lambda: by_name.fit(**data))}
    around_cell.set_weights(by_name.get_weights())
    difference = _difference(
        around_cell.predict(x_test, verbose=0), by_name.predict(x_test, verbose=0)
    )
    seconds["RNN(LSTMCell)"] = _timed(lambda: around_cell.fit(**data))
    _print_table({"difference of the predictions": difference})
    _print_table({f"{k}, 5 epochs": f"{v:.1f} s" for k, v in seconds.items()})
    explanations = [kcells.explain(model.layers[0]) for model in (by_name, around_cell)]
    print(*explanations, sep="\n")
    options: list[Result] = [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"recurrent_dropout": 0.2},
        {"unroll": True},
        {"use_bias": False},
    ]
    changed = {
        f"{name}={value!r}": kcells.explain(kcells.build("lstm", 64, **option)).path
        for option in options
        for name, value in option.items()
    }
    _print_table(changed)
    with keras.device("cpu"):
        predicted = int(np.argmax(around_cell.predict_on_batch(x_test[:1]), axis=1)[0])
    print(f"  the first test image: predicted {predicted}, it is {y_test[0]}")
    accuracy = around_cell.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    return {
        "models": (by_name, around_cell),
        "explanations": explanations,
        "changed": changed,
        "difference": difference,
        "accuracy": accuracy,
    }


@keras.saving.register_keras_serializable(package="guide")
class NestedCell(layers.Layer):
    """The guide's cell with two inputs a step, in `keras.ops`: it runs on every backend.

    In `state_size` a tuple inside of a list is a shape.
    """

    def __init__(self, unit_1: int, unit_2: int, unit_3: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unit_1, self.unit_2, self.unit_3 = unit_1, unit_2, unit_3
        self.state_size = [unit_1, (unit_2, unit_3)]
        self.output_size = [unit_1, (unit_2, unit_3)]

    def build(self, input_shapes: Any) -> None:
        (_, i1), (_, i2, i3) = input_shapes
        self.kernel_1 = self.add_weight(
            shape=(i1, self.unit_1), initializer="random_uniform", name="kernel_1"
        )
        self.kernel_2_3 = self.add_weight(
            shape=(i2, i3, self.unit_2, self.unit_3),
            initializer="random_uniform",
            name="kernel_2_3",
        )

    def call(self, inputs: Any, states: Any) -> Any:
        input_1, input_2 = inputs
        s1, s2 = states
        output_1 = ops.matmul(input_1, self.kernel_1)
        output_2_3 = ops.einsum("bij,ijkl->bkl", input_2, self.kernel_2_3)
        return (output_1, output_2_3), (s1 + output_1, s2 + output_2_3)

    def get_config(self) -> Result:
        units = {"unit_1": self.unit_1, "unit_2": self.unit_2, "unit_3": self.unit_3}
        return {**super().get_config(), **units}


def tensorflow_nested_cell() -> Any:
    """The class as the guide has it, for Keras 2: `tf` operations and `tf.TensorShape`.

    From "Working with RNNs" by Scott Zhu and François Chollet (Apache License 2.0).
    """
    import tensorflow as tf

    @keras.saving.register_keras_serializable()
    class NestedCell(keras.layers.Layer):
        def __init__(self, unit_1: int, unit_2: int, unit_3: int, **kwargs: Any) -> None:
            self.unit_1 = unit_1
            self.unit_2 = unit_2
            self.unit_3 = unit_3
            self.state_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
            self.output_size = [tf.TensorShape([unit_1]), tf.TensorShape([unit_2, unit_3])]
            super().__init__(**kwargs)

        def build(self, input_shapes: Any) -> None:
            i1 = input_shapes[0][1]
            i2 = input_shapes[1][1]
            i3 = input_shapes[1][2]
            self.kernel_1 = self.add_weight(
                shape=(i1, self.unit_1), initializer="uniform", name="kernel_1"
            )
            self.kernel_2_3 = self.add_weight(
                shape=(i2, i3, self.unit_2, self.unit_3), initializer="uniform", name="kernel_2_3"
            )

        def call(self, inputs: Any, states: Any) -> Any:
            input_1, input_2 = tf.nest.flatten(inputs)
            s1, s2 = states
            output_1 = tf.matmul(input_1, self.kernel_1)
            output_2_3 = tf.einsum("bij,ijkl->bkl", input_2, self.kernel_2_3)
            state_1 = s1 + output_1
            state_2_3 = s2 + output_2_3
            output = (output_1, output_2_3)
            new_states = (state_1, state_2_3)
            return output, new_states

        def get_config(self) -> Result:
            return {"unit_1": self.unit_1, "unit_2": self.unit_2, "unit_3": self.unit_3}

    return NestedCell


def nested_inputs() -> Result:
    """More than one tensor a step.

    A step of handwriting has a place and a pressure; a film has picture and sound. A cell
    whose `call` takes two tensors and whose `state_size` names two shapes goes into
    `kcells.RNN` as it is, and the model is compiled and fitted as any other. On TensorFlow
    it is the cell that the guide wrote for Keras 2, elsewhere the same in `keras.ops`.
    """
    cell_class = tensorflow_nested_cell() if BACKEND == "tensorflow" else NestedCell
    batch_size, num_batches, timestep = 64, 4, 50
    inputs = (keras.Input((None, 32)), keras.Input((None, 64, 32)))
    rnn = kcells.RNN(cell_class(10, 20, 30))
    model = keras.Model(inputs, rnn(inputs))
    # One entry an output: compile wants that in Keras 3.
    model.compile(optimizer="adam", loss="mse", metrics=["accuracy", "accuracy"])
    model.summary()
    samples = batch_size * num_batches
    input_data = (_random((samples, timestep, 32)), _random((samples, timestep, 64, 32)))
    target_data = (_random((samples, 10)), _random((samples, 20, 30)))
    history = model.fit(input_data, target_data, batch_size=batch_size, epochs=2, verbose=2)

    few = tuple(data[:8] for data in input_data)
    portable = kcells.RNN(NestedCell(10, 20, 30))
    portable.build(tuple(data.shape for data in few))
    portable.set_weights(rnn.get_weights())
    differences = {
        f"output {k}, against the cell in keras.ops": _difference(a, b)
        for k, (a, b) in enumerate(zip(rnn(few), portable(few), strict=True))
    }
    _print_table(differences)
    return {"model": model, "loss": history.history["loss"], "differences": differences}


SECTIONS: tuple[Callable[[], Result], ...] = (
    built_in_layers,
    layer_options,
    outputs,
    states,
    cells,
    one_step_by_hand,
    statefulness,
    state_reuse,
    both_directions,
    shape_tables,
    rows_of_images,
    performance,
    nested_inputs,
)


def run() -> dict[str, Result]:
    """All sections in order; what they return, by name."""
    keras.utils.set_random_seed(0)
    results = {}
    for number, section in enumerate(SECTIONS, start=1):
        title, _, text = (inspect.getdoc(section) or "").partition("\n\n")
        print(f"\n== {number}. {title.rstrip('.')}\n\n{text}\n")
        results[section.__name__] = section()
    return results


# -- Helpers


def _random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(shape)).random(shape, dtype="float32")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _same_weights(name: str, layer: Any, sequences: np.ndarray, **options: Any) -> Any:
    """Another layer around the cell `name`, with the weights of `layer`."""
    other = kcells.build(name, layer.cell.units, **options)
    other.build(sequences.shape)
    other.set_weights(layer.get_weights())
    return other


def _difference(a: Any, b: Any) -> float:
    """The largest difference between two tensors."""
    return float(np.max(np.abs(ops.convert_to_numpy(a) - ops.convert_to_numpy(b))))


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _shapes(result: Any) -> Any:
    return keras.tree.map_structure(_shape, result)


def _print_table(rows: dict[str, Any]) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        shown = f"{value:.1e}" if isinstance(value, float) else value
        print(f"  {name:{width}}   {shown}")


def _digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images `(8, 8)` with values from 0 to 1, and their labels; four fifths for training."""
    digits = load_digits()
    images = (digits.images / 16).astype("float32")
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def _row_model(rows: int, columns: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((rows, columns)),
            kcells.build("simple_rnn", 16, activation="relu"),
            layers.Dense(10),
            layers.Activation("softmax"),
        ]
    )


def _classifier(layer: Any) -> keras.Model:
    model = keras.Sequential(
        [keras.Input((None, 8)), layer, layers.BatchNormalization(), layers.Dense(10)]
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer="sgd",
        metrics=["accuracy"],
    )
    return model


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    run()
