"""What a recurrent module of torch computed, compared with the same model of this library.

Needs no torch: a run of a module is a dict of arrays with torch's names, made by
`peers/record_torch.py`, live or recorded.
"""

import jax
import jax.numpy as jnp
import numpy as np
from cases import assert_close, jit

from tlstm_jax import GRU, LSTM, Elman, Stacked, as_sequence
from tlstm_jax.convert import from_torch

# name -> (kind, number of layers)
MODULES = {
    "rnn": ("rnn", 1),
    "lstm": ("lstm", 1),
    "gru": ("gru", 1),
    "lstm-3": ("lstm", 3),
    "gru-2": ("gru", 2),
}
CELLS = {"rnn": Elman, "lstm": LSTM, "gru": GRU}
STATES = {"rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}


def make_model(name, features):
    kind, num_layers = MODULES[name]
    cell = CELLS[kind](features)
    return as_sequence(cell) if num_layers == 1 else Stacked(cell, num_layers)


def model_params(name, arrays, prefix=""):
    """torch's arrays "<prefix>weight_ih_l0" .. as the model's tree; prefix "grad_" for gradients.

    Our bias is the sum of torch's two, so that its gradient is that of either: of gradients, one
    counts, but for the GRU's candidate, which has both.
    """
    kind, _ = MODULES[name]
    weights = {
        key.removeprefix(prefix): value
        for key, value in arrays.items()
        if key.startswith((f"{prefix}weight_", f"{prefix}bias_"))
    }
    for key, value in weights.items():
        if prefix and key.startswith("bias_hh"):
            candidate = len(value) * 2 // 3 if kind == "gru" else len(value)
            weights[key] = np.where(np.arange(len(value)) < candidate, 0, value)
    return from_torch(kind, weights)


def model_carry(name, model, arrays, suffix, prefix=""):
    """torch's states [layers, B, M], "h0" and "c0" or "hn" and "cn", as a carry."""
    kind, num_layers = MODULES[name]
    states = [arrays[f"{prefix}{state}{suffix}"] for state in STATES[kind]]
    _, B, _ = states[0].shape
    carry = jax.eval_shape(lambda: model.init_carry(B, states[0].dtype))
    leaves = [state[n] for n in range(num_layers) for state in states]
    return jax.tree.unflatten(jax.tree.structure(carry), leaves)


def check(name, arrays, tolerance):
    """Outputs, last states, and the gradients by weights, inputs and first states."""
    model = make_model(name, arrays["weight_hh_l0"].shape[1])
    inputs = (model_params(name, arrays), model_carry(name, model, arrays, "0"), arrays["xs"])

    def loss(params, carry, xs):
        carry, ys, *_ = model.apply(params, (), carry, xs)
        wanted = jax.tree.leaves(model_carry(name, model, arrays, "n", "wanted_"))
        total = jnp.sum(ys * arrays["wanted_ys"])
        total += sum(map(jnp.vdot, jax.tree.leaves(carry), wanted))
        return total, (carry, ys)

    grads, (carry, ys) = jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(
        *jax.tree.map(jnp.asarray, inputs)
    )
    assert ys.dtype == arrays["ys"].dtype
    assert_close(ys, arrays["ys"], tolerance)
    assert_close(carry, model_carry(name, model, arrays, "n"), tolerance)
    expected = (
        model_params(name, arrays, "grad_"),
        model_carry(name, model, arrays, "0", "grad_"),
        arrays["grad_xs"],
    )
    assert_close(grads, expected, tolerance)
