"""`tf.raw_ops.CudnnRNNV3` as its documents describe it, written in small operations.

Parameters: the matrices for the input, one a gate, then those for the state, each
(units, features) row by row; then the biases for the input and those for the state. Gates
are i, f, g, o in an LSTM and r, z, n in a GRU.
"""

import tensorflow as tf

__all__ = ["install"]


def install(monkeypatch):
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", _cudnn_rnn)


def _cudnn_rnn(
    *, input, input_h, input_c, params, sequence_lengths, rnn_mode, time_major, is_training
):
    assert time_major
    assert is_training
    tf.debugging.assert_equal(sequence_lengths, tf.shape(input)[0])
    units, features = input_h.shape[-1], input.shape[-1]
    gates = {"lstm": 4, "gru": 3}[rnn_mode]
    sizes = [units * features] * gates + [units * units] * gates + [units] * (2 * gates)
    parts = tf.split(params, sizes)
    w = [tf.reshape(part, (units, features)) for part in parts[:gates]]
    u = [tf.reshape(part, (units, units)) for part in parts[gates : 2 * gates]]
    b, d = parts[2 * gates : 3 * gates], parts[3 * gates :]
    h, c = input_h[0], input_c[0] if rnn_mode == "lstm" else None
    outputs = []
    for x in tf.unstack(input):
        of_x = [x @ tf.transpose(w[k]) + b[k] for k in range(gates)]
        of_h = [h @ tf.transpose(u[k]) + d[k] for k in range(gates)]
        if rnn_mode == "lstm":
            i, f, o = (tf.sigmoid(of_x[k] + of_h[k]) for k in (0, 1, 3))
            c = f * c + i * tf.tanh(of_x[2] + of_h[2])
            h = o * tf.tanh(c)
        else:
            r, z = (tf.sigmoid(of_x[k] + of_h[k]) for k in (0, 1))
            n = tf.tanh(of_x[2] + r * of_h[2])
            h = (1 - z) * n + z * h
        outputs.append(h)
    final_c = c[None] if rnn_mode == "lstm" else tf.zeros_like(input_h)
    return tf.stack(outputs), h[None], final_c, None, None
