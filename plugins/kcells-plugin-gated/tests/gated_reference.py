"""The cells in plain NumPy, float64: one step of each, from its paper, and a loop for all.

A step takes the weights by name, the inputs of one step and the states. It returns what comes out
and the new states.
"""

from __future__ import annotations

import numpy as np
from newer_reference import (
    block_gru,
    elstm,
    lipschitz_rnn,
    mgu1,
    mgu2,
    mgu3,
    plrnn,
    shallow_plrnn,
    srnn,
)
from numpy_parts import hard_sigmoid, parts, sigmoid

__all__ = ["STEPS", "run"]


def antisymmetric_rnn(w, x, h, epsilon=0.1, gamma=0.01):
    """Chang et al. 2019."""
    k = w["recurrent_kernel"]
    matrix = k - k.T - gamma * np.eye(len(k))
    h = h + epsilon * np.tanh(x @ w["kernel"] + h @ matrix + w["bias"])
    return h, [h]


def gated_antisymmetric_rnn(w, x, h, epsilon=0.1, gamma=0.01):
    """Chang et al. 2019, with a gate."""
    k = w["recurrent_kernel"]
    from_state = h @ (k - k.T - gamma * np.eye(len(k)))
    (v_z, v_h), (b_z, b_h) = parts(w, "kernel", 2), parts(w, "bias", 2)
    z = sigmoid(from_state + x @ v_z + b_z)
    h = h + epsilon * z * np.tanh(from_state + x @ v_h + b_h)
    return h, [h]


def atr(w, x, h):
    """Zhang et al. 2018."""
    p, q = x @ w["kernel"], h @ w["recurrent_kernel"] + w.get("bias", 0.0)
    h = sigmoid(p + q) * p + sigmoid(p - q) * h
    return h, [h]


def br(w, x, h):
    """Vecoven et al. 2021, BRC."""
    u_c, u_a, u = parts(w, "kernel", 3)
    b_c, b_a = parts(w, "bias", 2)
    w_c, w_a = w["recurrent_kernel"]
    c = sigmoid(x @ u_c + w_c * h + b_c)
    a = 1.0 + np.tanh(x @ u_a + w_a * h + b_a)
    h = c * h + (1.0 - c) * np.tanh(x @ u + a * h)
    return h, [h]


def nbr(w, x, h):
    """Vecoven et al. 2021, nBRC."""
    u_c, u_a, u = parts(w, "kernel", 3)
    b_c, b_a = parts(w, "bias", 2)
    w_c, w_a = parts(w, "recurrent_kernel", 2)
    c = sigmoid(x @ u_c + h @ w_c + b_c)
    a = 1.0 + np.tanh(x @ u_a + h @ w_a + b_a)
    h = c * h + (1.0 - c) * np.tanh(x @ u + a * h)
    return h, [h]


def cfn(w, x, h):
    """Laurent and von Brecht 2016."""
    v_f, v_i, v = parts(w, "kernel", 3)
    b_f, b_i = parts(w, "bias", 2)
    u_f, u_i = parts(w, "recurrent_kernel", 2)
    theta, eta = sigmoid(h @ u_f + x @ v_f + b_f), sigmoid(h @ u_i + x @ v_i + b_i)
    h = theta * np.tanh(h) + eta * np.tanh(x @ v)
    return h, [h]


def light_ru(w, x, h):
    """Ye et al. 2024."""
    w_f, w_h = parts(w, "kernel", 2)
    f = sigmoid(x @ w_f + h @ w["recurrent_kernel"] + w["bias"])
    h = (1.0 - f) * h + f * np.tanh(x @ w_h)
    return h, [h]


def minimal_rnn(w, x, h):
    """Chen 2017."""
    b_z, b_u = parts(w, "bias", 2)
    z = np.tanh(x @ w["kernel"] + b_z)
    u = sigmoid(h @ w["recurrent_kernel"] + z @ w["kernel_gate"] + b_u)
    h = u * h + (1.0 - u) * z
    return h, [h]


def sgu(w, x, h, gate=hard_sigmoid, deep=False):
    """Gao and Glowacka 2016, SGU."""
    (w_g, w_z), (b_g, b_z) = parts(w, "kernel", 2), parts(w, "bias", 2)
    u_g, u_z = parts(w, "recurrent_kernel", 2)
    g = np.tanh(((x @ w_g + b_g) * h) @ u_g)
    out = sigmoid((g * h) @ w["recurrent_kernel_out"]) if deep else np.log1p(np.exp(g * h))
    z = gate(x @ w_z + h @ u_z + b_z)
    h = (1.0 - z) * h + z * out
    return h, [h]


def dsgu(w, x, h, gate=hard_sigmoid):
    """Gao and Glowacka 2016, DSGU."""
    return sgu(w, x, h, gate, deep=True)


def mclstm(w, x, v, c):
    """Memory controller LSTM, 2017."""
    sums = x @ w["kernel"] + v @ w["recurrent_kernel"] + w["bias"]
    i, f, g, o, m = np.split(sums, 5, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), [sigmoid(m) * np.tanh(c), c]


def wmclstm(w, x, h, c):
    """Landi et al. 2021."""
    sums = x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
    i, f, g, o = np.split(sums, 4, axis=1)
    v_i, v_f, v_o = parts(w, "recurrent_kernel_memory", 3)
    i, f = sigmoid(i + np.tanh(c @ v_i)), sigmoid(f + np.tanh(c @ v_f))
    c = f * c + i * np.tanh(g)
    h = sigmoid(o + np.tanh(c @ v_o)) * np.tanh(c)
    return h, [h, c]


def miru1(w, x, h, update_coefficient=0.5):
    """Zyarah and Kudithipudi 2025, with a reset gate."""
    (w_r, w_h), (u_r, u_h) = parts(w, "kernel", 2), parts(w, "recurrent_kernel", 2)
    b_r, b_h = parts(w, "bias", 2)
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    g = np.tanh(x @ w_h + (r * h) @ u_h + b_h)
    h = update_coefficient * h + (1.0 - update_coefficient) * g
    return h, [h]


def miru2(w, x, h, update_coefficient=0.5, reset_coefficient=0.5):
    """Zyarah and Kudithipudi 2025."""
    seen = reset_coefficient * h
    g = np.tanh(x @ w["kernel"] + seen @ w["recurrent_kernel"] + w["bias"])
    h = update_coefficient * h + (1.0 - update_coefficient) * g
    return h, [h]


def mut1(w, x, h):
    """Jozefowicz et al. 2015."""
    n = h.shape[1]
    w_z, w_r, w_h = w["kernel"][:, :n], w["kernel"][:, n : 2 * n], w["kernel"][:, 2 * n :]
    (u_r, u_h), (b_z, b_r, b_h) = parts(w, "recurrent_kernel", 2), parts(w, "bias", 3)
    z = sigmoid(x @ w_z + b_z)
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    g = np.tanh((r * h) @ u_h + np.tanh(x @ w_h if w_h.size else x) + b_h)
    h = g * z + h * (1.0 - z)
    return h, [h]


def mut2(w, x, h):
    """Jozefowicz et al. 2015."""
    n = h.shape[1]
    w_z, w_h, w_r = w["kernel"][:, :n], w["kernel"][:, n : 2 * n], w["kernel"][:, 2 * n :]
    (u_z, u_r, u_h), (b_z, b_r, b_h) = parts(w, "recurrent_kernel", 3), parts(w, "bias", 3)
    z = sigmoid(x @ w_z + h @ u_z + b_z)
    r = sigmoid((x @ w_r if w_r.size else x) + h @ u_r + b_r)
    g = np.tanh((r * h) @ u_h + x @ w_h + b_h)
    h = g * z + h * (1.0 - z)
    return h, [h]


def mut3(w, x, h):
    """Jozefowicz et al. 2015."""
    w_z, w_r, w_h = parts(w, "kernel", 3)
    (u_z, u_r, u_h), (b_z, b_r, b_h) = parts(w, "recurrent_kernel", 3), parts(w, "bias", 3)
    z = sigmoid(x @ w_z + np.tanh(h) @ u_z + b_z)
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    g = np.tanh((r * h) @ u_h + x @ w_h + b_h)
    h = g * z + h * (1.0 - z)
    return h, [h]


def original_lstm(w, x, h, c):
    """Hochreiter and Schmidhuber 1997."""
    sums = x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
    i, g, o = np.split(sums, 3, axis=1)
    c = c + sigmoid(i) * (4.0 * sigmoid(g) - 2.0)
    h = sigmoid(o) * (2.0 * sigmoid(c) - 1.0)
    return h, [h, c]


def ran(w, x, c):
    """Lee et al. 2017."""
    (w_i, w_f, w_c), (b_i, b_f) = parts(w, "kernel", 3), parts(w, "bias", 2)
    u_i, u_f = parts(w, "recurrent_kernel", 2)
    h = np.tanh(c)
    i, f = sigmoid(x @ w_i + h @ u_i + b_i), sigmoid(x @ w_f + h @ u_f + b_f)
    c = i * (x @ w_c) + f * c
    return np.tanh(c), [c]


def res_lstm(w, x, h, c):
    """Kim et al. 2017."""
    sums = x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
    i, f, g, o = np.split(sums, 4, axis=1)
    p_i, p_f, p_o = w["recurrent_peepholes"]
    c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    passing = x @ w["kernel_residual"] if "kernel_residual" in w else x
    h = sigmoid(o + p_o * c) * (np.tanh(c) @ w["recurrent_projection"] + passing)
    return h, [h, c]


def scrn(w, x, h, s, alpha=0.95):
    """Mikolov et al. 2014."""
    n = h.shape[1]
    a, b = w["kernel"][:, :n], w["kernel"][:, n:]
    r, p = w["recurrent_kernel"][:n], w["recurrent_kernel"][n:]
    s = (1.0 - alpha) * (x @ b) + alpha * s
    h = sigmoid(s @ p + x @ a + h @ r + w.get("bias", 0.0))
    return np.hstack([h, s]), [h, s]


def sgrn(w, x, h):
    """Zu and Wei 2020."""
    p = x @ w["kernel"] + w["bias"]
    f = sigmoid(p + h @ w["recurrent_kernel"])
    h = np.tanh((1.0 - f) * p + f * h)
    return h, [h]


def star(w, x, h):
    """Turkoglu et al. 2019."""
    (w_z, w_k), (b_z, b_k) = parts(w, "kernel", 2), parts(w, "bias", 2)
    k = sigmoid(x @ w_k + h @ w["recurrent_kernel"] + b_k)
    h = np.tanh((1.0 - k) * h + k * np.tanh(x @ w_z + b_z))
    return h, [h]


def trnn(w, x, h):
    """Balduzzi and Ghifary 2016, T-RNN."""
    v, w_z = parts(w, "kernel", 2)
    f = sigmoid(x @ v + w["bias"])
    h = f * h + (1.0 - f) * (x @ w_z)
    return h, [h]


def tgru(w, x, h, previous):
    """Balduzzi and Ghifary 2016, T-GRU."""
    z, f, o = np.split(x @ w["kernel"] + previous + w["bias"], 3, axis=1)
    h = sigmoid(f) * h + z * np.tanh(o)
    return h, [h, x @ w["kernel_previous"]]


def tlstm(w, x, c, previous):
    """Balduzzi and Ghifary 2016, T-LSTM."""
    z, f, o = np.split(x @ w["kernel"] + previous + w["bias"], 3, axis=1)
    c = sigmoid(f) * c + (1.0 - sigmoid(f)) * z
    return c * np.tanh(o), [c, x @ w["kernel_previous"]]


def tau_gru(w, x, h, past, dt=1.0, alpha=1.0, beta=1.0):
    """Erichson et al. 2022."""
    (w_u, w_g, w_a, w_z), (b_u, b_g, b_a, b_z) = parts(w, "kernel", 4), parts(w, "bias", 4)
    u_u, u_g, u_a = parts(w, "recurrent_kernel", 3)
    u = np.tanh(x @ w_u + h @ u_u + b_u)
    z = np.tanh(x @ w_z + past[:, 0] @ w["recurrent_kernel_delayed"] + b_z)
    g = dt * sigmoid(x @ w_g + h @ u_g + b_g)
    a = sigmoid(x @ w_a + h @ u_a + b_a)
    new = (1.0 - g) * h + g * (beta * u + alpha * a * z)
    return new, [new, np.concatenate([past[:, 1:], h[:, None]], axis=1)]


STEPS = {
    step.__name__: step
    for step in (
        antisymmetric_rnn,
        gated_antisymmetric_rnn,
        atr,
        br,
        nbr,
        cfn,
        light_ru,
        minimal_rnn,
        sgu,
        dsgu,
        mclstm,
        wmclstm,
        miru1,
        miru2,
        mut1,
        mut2,
        mut3,
        original_lstm,
        ran,
        res_lstm,
        scrn,
        sgrn,
        star,
        trnn,
        tgru,
        tlstm,
        tau_gru,
        mgu1,
        mgu2,
        mgu3,
        elstm,
        lipschitz_rnn,
        plrnn,
        shallow_plrnn,
        srnn,
        block_gru,
    )
}


def run(step, weights, sequences, *states, mask=None, **constants):
    """Outputs of all steps, and the last states; where the mask is False nothing moves."""
    batch, time, _ = sequences.shape
    states, outputs = list(states), []
    mask = np.ones((batch, time), bool) if mask is None else mask
    last = None
    for t in range(time):
        y, new = step(weights, sequences[:, t], *states, **constants)
        last = np.zeros_like(y) if last is None else last

        def chosen(one, old, t=t):
            valid = mask[:, t].reshape((batch,) + (1,) * (one.ndim - 1))
            return np.where(valid, one, old)

        last = chosen(y, last)
        states = [chosen(one, old) for one, old in zip(new, states, strict=True)]
        outputs.append(last)
    return [np.stack(outputs, axis=1), *states]
