"""The cells in plain NumPy, float64: a step of each from its paper, and a loop for all.

A step takes the weights by name, the inputs of one step and the states, and returns the new
states, the first of which is the output.
"""

from __future__ import annotations

import numpy as np

__all__ = ["STEPS", "run"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def affine(w, x, h, block, units):
    """W x + U h + b of one block."""
    columns = slice(block * units, (block + 1) * units)
    bias = w["bias"][columns] if "bias" in w else 0.0
    return x @ w["kernel"][:, columns] + h @ w["recurrent_kernel"][:, columns] + bias


def mgu(w, x, h):
    """Zhou et al. 2016."""
    n = h.shape[1]
    f = sigmoid(affine(w, x, h, 0, n))
    candidate = np.tanh(affine(w, x, f * h, 1, n))
    return [(1.0 - f) * h + f * candidate]


def janet(w, x, c, beta=1.0):
    """Van der Westhuizen and Lasenby 2018."""
    n = c.shape[1]
    s = affine(w, x, c, 0, n)
    candidate = np.tanh(affine(w, x, c, 1, n))
    return [sigmoid(s) * c + (1.0 - sigmoid(s - beta)) * candidate]


def li_gru(w, x, h, activation=lambda a: np.maximum(a, 0.0)):
    """Ravanelli et al. 2018, without batch normalization."""
    n = h.shape[1]
    z = sigmoid(affine(w, x, h, 0, n))
    candidate = activation(affine(w, x, h, 1, n))
    return [z * h + (1.0 - z) * candidate]


def fast_rnn(w, x, h):
    """Kusupati et al. 2018, FastRNN."""
    candidate = np.tanh(affine(w, x, h, 0, h.shape[1]))
    return [sigmoid(w["alpha"]) * candidate + sigmoid(w["beta"]) * h]


def fast_grnn(w, x, h):
    """Kusupati et al. 2018, FastGRNN."""
    kernel = w["kernel"] if "kernel" in w else w["kernel_in"] @ w["kernel_out"]
    if "recurrent_kernel" in w:
        recurrent = w["recurrent_kernel"]
    else:
        recurrent = w["recurrent_kernel_in"] @ w["recurrent_kernel_out"]
    b_z, b_h = np.split(w["bias"], 2) if "bias" in w else (0.0, 0.0)
    z = sigmoid(x @ kernel + h @ recurrent + b_z)
    candidate = np.tanh(x @ kernel + h @ recurrent + b_h)
    return [(sigmoid(w["zeta"]) * (1.0 - z) + sigmoid(w["nu"])) * candidate + z * h]


def lem(w, u, y, z, dt=1.0):
    """Rusch et al. 2022."""
    n = y.shape[1]
    v_1, v_2, v_z, v_y = np.split(w["kernel"], 4, axis=1)
    b_1, b_2, b_z, b_y = np.split(w["bias"], 4)
    w_1, w_2, w_z = w["recurrent_kernel"][:, :n], *np.split(w["recurrent_kernel"][:, n:], 2, axis=1)
    step_z = dt * sigmoid(y @ w_1 + u @ v_1 + b_1)
    step_y = dt * sigmoid(y @ w_2 + u @ v_2 + b_2)
    new_z = (1.0 - step_z) * z + step_z * np.tanh(y @ w_z + u @ v_z + b_z)
    force = np.tanh(new_z @ w["recurrent_kernel_y"] + u @ v_y + b_y)
    return [(1.0 - step_y) * y + step_y * force, new_z]


def cornn(w, u, y, z, dt=0.042, gamma=2.7, epsilon=4.7, implicit=False):
    """Rusch and Mishra 2021."""
    n = y.shape[1]
    on_y, on_z = w["recurrent_kernel"][:n], w["recurrent_kernel"][n:]
    sigma = np.tanh(y @ on_y + z @ on_z + u @ w["kernel"] + w["bias"])
    right = z + dt * sigma - dt * gamma * y
    new_z = right / (1.0 + dt * epsilon) if implicit else right - dt * epsilon * z
    return [y + dt * new_z, new_z]


def rhn(w, x, s, depth=3, coupled=True):
    """Zilly et al. 2017."""
    n = s.shape[1]
    for layer in range(1, depth + 1):
        sums = s @ w[f"recurrent_kernel_{layer}"] + w.get(f"bias_{layer}", 0.0)
        if layer == 1:
            sums = sums + x @ w["kernel"]
        h, t = np.tanh(sums[:, :n]), sigmoid(sums[:, n : 2 * n])
        c = 1.0 - t if coupled else sigmoid(sums[:, 2 * n :])
        s = h * t + s * c
    return [s]


def slstm_sums(w, x, h):
    """The four pre-activations of the sLSTM: z, i, f, o."""
    heads, size, _ = w["recurrent_kernel"].shape
    of_inputs = np.split(x @ w["kernel"] + w["bias"], 4, axis=1)
    of_state = [np.zeros_like(h) for _ in range(4)]
    for k in range(heads):
        rows = slice(k * size, (k + 1) * size)
        for gate, block in enumerate(np.split(w["recurrent_kernel"][k], 4, axis=1)):
            of_state[gate][:, rows] = h[:, rows] @ block
    return [a + b for a, b in zip(of_inputs, of_state, strict=True)]


def slstm(w, x, h, c, n, m, exponential=False):
    """Beck et al. 2024, stabilized."""
    z, i, f, o = slstm_sums(w, x, h)
    log_f = f if exponential else np.log(sigmoid(f))
    new_m = np.maximum(log_f + m, i)
    stable_i, stable_f = np.exp(i - new_m), np.exp(log_f + m - new_m)
    c = stable_f * c + stable_i * np.tanh(z)
    n = stable_f * n + stable_i
    return [sigmoid(o) * (c / n), c, n, new_m]


def slstm_unstable(w, x, h, c, n, exponential=False):
    """The same without a stabilizer: exponentials as they are."""
    z, i, f, o = slstm_sums(w, x, h)
    f = np.exp(f) if exponential else sigmoid(f)
    c = f * c + np.exp(i) * np.tanh(z)
    n = f * n + np.exp(i)
    return [sigmoid(o) * (c / n), c, n]


def cumax(a):
    e = np.exp(a)
    return np.cumsum(e / e.sum(axis=1, keepdims=True), axis=1)


def on_lstm(w, x, h, c, chunk_size=1):
    """Shen et al. 2019."""
    n = h.shape[1]
    sums = x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
    i, f, o = sigmoid(sums[:, :n]), sigmoid(sums[:, n : 2 * n]), sigmoid(sums[:, 3 * n : 4 * n])
    candidate = np.tanh(sums[:, 2 * n : 3 * n])
    raw_f, raw_i = np.split(sums[:, 4 * n :], 2, axis=1)
    chunk = [k // chunk_size for k in range(n)]
    master_f, master_i = cumax(raw_f)[:, chunk], 1.0 - cumax(raw_i)[:, chunk]
    omega = master_f * master_i
    f_hat = f * omega + (master_f - omega)
    i_hat = i * omega + (master_i - omega)
    c = f_hat * c + i_hat * candidate
    return [o * np.tanh(c), c]


def nested_lstm(w, x, h, c, inner_c, candidate_activation=lambda a: a, forget_bias=1.0):
    """Moniz and Krueger 2017, one LSTM in another."""
    n = h.shape[1]

    def gates(weights, x, h):
        shifts = 0.0, forget_bias, 0.0, 0.0
        return (sigmoid(affine(weights, x, h, k, n) + shifts[k]) for k in (0, 1, 3))

    i, f, o = gates(w, x, h)
    inner_x = i * candidate_activation(affine(w, x, h, 2, n))
    inner_h = f * c
    of = {name: w[f"{name}_inner"] for name in ("kernel", "recurrent_kernel", "bias")}
    i, f, inner_o = gates(of, inner_x, inner_h)
    inner_c = f * inner_c + i * np.tanh(affine(of, inner_x, inner_h, 2, n))
    c = inner_o * np.tanh(inner_c)
    return [o * np.tanh(c), c, inner_c]


def unicornn(w, x, y, z, dt=0.1, alpha=1.0):
    """Rusch and Mishra 2021, UnICORNN."""
    size = dt * (0.5 + 0.5 * np.tanh(w["control"] / 2.0))
    sigma = np.tanh(w["recurrent_kernel"] * y + x @ w["kernel"] + w["bias"])
    new_z = z - size * (sigma + alpha * y)
    return [y + size * new_z, new_z]


def lmu_matrices(order, theta, parts=4096):
    """A and B of a step of length one, by many small steps of Heun's third-order rule."""
    a, b = np.zeros((order, order)), np.zeros(order)
    for i in range(order):
        b[i] = (2 * i + 1) * (-1) ** i / theta
        for j in range(order):
            a[i, j] = (2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1)) / theta
    # Columns: the response to each start, and to a constant input.
    state, drive = np.eye(order, order + 1), np.zeros((order, order + 1))
    drive[:, order], h = b, 1.0 / parts
    for _ in range(parts):
        k_1 = a @ state + drive
        k_2 = a @ (state + h / 3 * k_1) + drive
        k_3 = a @ (state + 2 * h / 3 * k_2) + drive
        state = state + h / 4 * (k_1 + 3 * k_3)
    return state[:, :order], state[:, order]


def lmu(w, x, h, m, matrices):
    """Voelker et al. 2019."""
    a, b = matrices
    u = x @ w["encoder_inputs"] + h @ w["encoder_state"] + m @ w["encoder_memory"]
    m = np.stack([a @ row + b * number for row, (number,) in zip(m, u, strict=True)])
    of_memory = m @ w["recurrent_kernel_memory"] + w.get("bias", 0.0)
    return [np.tanh(x @ w["kernel"] + h @ w["recurrent_kernel"] + of_memory), m]


def lecun_tanh(a):
    return 1.7159 * np.tanh(0.666 * a)


def cfc(w, x, h, backbone=lecun_tanh, head=np.tanh, layers=1, timed=False):
    """Hasani et al. 2022."""
    time = x[:, -1:] if timed else 1.0
    x = x[:, :-1] if timed else x
    q = backbone(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"])
    for layer in range(2, layers + 1):
        q = backbone(q @ w[f"kernel_{layer}"] + w[f"bias_{layer}"])
    sums = q @ w["kernel_heads"] + w["bias_heads"]
    f_g, f_h, time_a, time_b = np.split(sums, 4, axis=1)
    gate = sigmoid(-(time_a * time + time_b))
    return [gate * head(f_g) + (1.0 - gate) * head(f_h)]


STEPS = {
    step.__name__: step
    for step in (
        *(mgu, janet, li_gru, fast_rnn, fast_grnn, lem, cornn, rhn, slstm, on_lstm),
        *(nested_lstm, unicornn, lmu, cfc),
    )
}


def run(step, weights, sequences, *states, mask=None, **options):
    """All outputs `(batch, time, units)` and the final states.

    At a masked step the states stay, and the output is the last valid one, zero before the first.
    """
    states, output, outputs = list(states), np.zeros_like(states[0]), []
    for t in range(sequences.shape[1]):
        valid = np.ones((len(sequences), 1), bool) if mask is None else mask[:, t, None]
        new = step(weights, sequences[:, t], *states, **options)
        output = np.where(valid, new[0], output)
        states = [np.where(valid, *pair) for pair in zip(new, states, strict=True)]
        outputs.append(output)
    return [np.stack(outputs, axis=1), *states]
