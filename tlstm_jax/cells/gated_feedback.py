"""The gated-feedback RNN: layers that hear the previous states of all layers, through scalar gates.

Chung, Gulcehre, Cho and Bengio, "Gated Feedback Recurrent Neural Networks", ICML 2015.

    For layer j = 1 .. L, with h^0_t = x_t and h* = [h^1, .., h^L] of step t - 1:

    g^ij = sigm(h^{j-1}_t w^ij + h* u^ij + b^ij)      a number, for each layer i = 1 .. L
    s = sum_i g^ij (h^i_{t-1} U^ij)

    elman    h^j_t = tanh(h^{j-1}_t W + s + b)

    lstm     i, f, o = sigm(h^{j-1}_t W + h^j_{t-1} U + b) each
             c~ = tanh(h^{j-1}_t W + s + b)
             c^j_t = f * c^j_{t-1} + i * c~           h^j_t = o * tanh(c^j_t)

    gru      r, z = sigm(h^{j-1}_t W + h^j_{t-1} U + b) each
             n = tanh(h^{j-1}_t W + r * s + b)        h^j_t = z * h^j_{t-1} + (1 - z) * n

    y_t = h^L_t

Only the candidates hear other layers; the gates of units see what is below and their own layer.
The paper has no biases; here each sum has one, zero at the start but for forget gates. Its z is 1 - z
here, as in this library's `GRU`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.elman import ElmanCarry
from tlstm_jax.cells.gru import GRUCarry
from tlstm_jax.cells.linear import (
    check_size,
    input_kernel,
    linear,
    recurrent_kernel,
    scaled_normal,
)
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params

_GATES = {"elman": 0, "lstm": 3, "gru": 2}  # of units, beside the candidate


@dataclasses.dataclass(frozen=True)
class GatedFeedback(DelayFree):
    """The gated-feedback RNN, LSTM or GRU, all layers as one cell.

    Parameters: {"layer_0": .., "layer_1": .., ..}, each {"input": {"kernel" [I, n M], "bias" [n M]},
    "recurrent": {"kernel" [M, (n - 1) M]}, "feedback": {"kernel" [L M, M]}, "gate_input":
    {"kernel" [I, L]}, "gate": {"kernel" [L M, L], "bias" [L]}}, where I is M above the first layer.
    Blocks of "input" are i, f, c~, o in an LSTM, r, z, n in a GRU; those of "recurrent" are without
    the candidate, and "elman" has none. "feedback" has U^1j .. U^Lj below one another. A layer needs
    what is below at the same step, so it has no project / mix / update.

    Attributes:
      features: M, of every layer.
      cell: elman, lstm or gru.
      num_layers: L >= 1.
      forget_bias: initial bias of the f gates of an LSTM; the others start at 0.
      input_scale: initial standard deviation of the first layer's W and w; None is variance
        scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GatedFeedback
      >>> cell = GatedFeedback(4, cell="gru", num_layers=3)
      >>> params = cell.init(jax.random.key(0), input_shape=5)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 5)))
      >>> y.shape, carry.hidden.shape
      ((2, 4), (2, 3, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    cell: str = "lstm"
    num_layers: int = 3
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("num_layers", self.num_layers)
        if self.cell not in _GATES:
            raise ValueError(f"cell is {self.cell!r}; accepted are {', '.join(_GATES)}")

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        keys = jax.random.split(key, self.num_layers)
        sizes = [(I, self.input_scale)] + [(self.features, None)] * (self.num_layers - 1)
        layers = [self._init_layer(k, *size) for k, size in zip(keys, sizes, strict=True)]
        return {f"layer_{n}": layer for n, layer in enumerate(layers)}

    def _init_layer(self, key: Array, input_size: int, scale: Any) -> Params:
        M, L, gates = self.features, self.num_layers, _GATES[self.cell]
        w, u, feedback, w_gate, u_gate = jax.random.split(key, 5)
        bias = jnp.zeros(((gates + 1) * M,), jnp.float32)
        if self.cell == "lstm":
            bias = bias.at[M : 2 * M].set(self.forget_bias)
        # Gates are near 1/2 at first, so that L orthogonal matrices add up to about one.
        U = [recurrent_kernel(k, M, gates=1) for k in jax.random.split(feedback, L)]
        layer = {
            "input": {
                "kernel": input_kernel(w, (input_size, (gates + 1) * M), scale),
                "bias": bias,
            },
            "feedback": {"kernel": jnp.concatenate(U)},
            "gate_input": {"kernel": input_kernel(w_gate, (input_size, L), scale)},
            "gate": {
                "kernel": scaled_normal(u_gate, (L * M, L), 1.0),
                "bias": jnp.zeros((L,), jnp.float32),
            },
        }
        if gates:
            layer["recurrent"] = {"kernel": recurrent_kernel(u, M, gates=gates)}
        return layer

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32
    ) -> ElmanCarry | LSTMCarry | GRUCarry:
        """States of all layers, [B, L, M]."""
        shape = (batch_size, self.num_layers, self.features)
        if self.cell == "gru":
            return GRUCarry(jnp.zeros(shape, dtype))
        hidden = jnp.zeros(shape, self.dtype or dtype)
        return (
            LSTMCarry(hidden, jnp.zeros(shape, dtype))
            if self.cell == "lstm"
            else ElmanCarry(hidden)
        )

    def step(
        self, params: Params, carry: ElmanCarry | LSTMCarry | GRUCarry, x: Array
    ) -> tuple[ElmanCarry | LSTMCarry | GRUCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h^L_t [B, M]."""
        below, states = x, []
        for n in range(self.num_layers):
            layer, own = params[f"layer_{n}"], type(carry)(*(part[:, n] for part in carry))
            a = linear(below, layer["input"], self.dtype)
            s = self._feedback(layer, carry.hidden.astype(a.dtype), below)
            new = getattr(self, f"_{self.cell}")(layer, own, a, s)
            states.append(new)
            below = new.hidden.astype(a.dtype)
        return type(carry)(*(jnp.stack(part, axis=1) for part in zip(*states, strict=True))), below

    def _feedback(self, layer: Params, hidden: Array, below: Array) -> Array:
        """s [B, M] from h of all layers [B, L, M]: their gates multiply them before one product."""
        together = hidden.reshape(hidden.shape[0], -1)
        g = linear(below, layer["gate_input"], self.dtype)
        g = jax.nn.sigmoid(g + linear(together, layer["gate"], g.dtype))
        heard = (hidden * g[:, :, None]).reshape(together.shape)
        return linear(heard, layer["feedback"], g.dtype)

    def _elman(self, layer: Params, own: ElmanCarry, a: Array, s: Array) -> ElmanCarry:
        del layer
        return ElmanCarry(jnp.tanh(a + s).astype(own.hidden.dtype))

    def _lstm(self, layer: Params, own: LSTMCarry, a: Array, s: Array) -> LSTMCarry:
        i_x, f_x, g_x, o_x = jnp.split(a, 4, axis=-1)
        i_h, f_h, o_h = jnp.split(linear(own.hidden, layer["recurrent"], a.dtype), 3, axis=-1)
        sums = (i_x + i_h, f_x + f_h, g_x + s, o_x + o_h)
        i, f, g, o = (part.astype(own.memory.dtype) for part in sums)
        c = jax.nn.sigmoid(f) * own.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMCarry((jax.nn.sigmoid(o) * jnp.tanh(c)).astype(own.hidden.dtype), c)

    def _gru(self, layer: Params, own: GRUCarry, a: Array, s: Array) -> GRUCarry:
        h = own.hidden
        r_x, z_x, n_x = jnp.split(a, 3, axis=-1)
        r_h, z_h = jnp.split(linear(h, layer["recurrent"], a.dtype), 2, axis=-1)
        sums = (r_x + r_h, z_x + z_h, n_x, s)
        r, z, n, s = (part.astype(h.dtype) for part in sums)
        z, n = jax.nn.sigmoid(z), jnp.tanh(n + jax.nn.sigmoid(r) * s)
        return GRUCarry(z * h + (1 - z) * n)
