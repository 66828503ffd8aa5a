"""`jax.experimental.rnn.lstm` by way of JAX's own reference implementation of it."""

from jax.experimental import rnn

__all__ = ["install"]


def install(monkeypatch):
    monkeypatch.setattr(rnn, "lstm", _lstm)
    from kcells.engine import kernels

    # cuDNN in JAX is float32 only; the reference takes any, for exact comparisons.
    (own,) = (k for k in kernels.KERNELS if k.backend == "jax")
    wider = kernels.dataclasses.replace(own, dtypes=(*own.dtypes, "float64"))
    table = tuple(wider if k is own else k for k in kernels.KERNELS)
    monkeypatch.setattr(kernels, "KERNELS", table)


def _lstm(
    x, h_0, c_0, weights, seq_lengths, input_size, hidden_size, num_layers, dropout, bidirectional
):
    unpacked = rnn.unpack_lstm_weights(weights, input_size, hidden_size, num_layers, bidirectional)
    return rnn.lstm_ref(
        x,
        h_0,
        c_0,
        *unpacked,
        seq_lengths=seq_lengths,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        dropout=dropout,
        bidirectional=bidirectional,
    )
