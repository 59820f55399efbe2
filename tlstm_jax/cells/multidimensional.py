"""The step of the multidimensional LSTM along an image's diagonals, in three forms.

Equations and citations: `tlstm_jax.models.multidimensional_lstm`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import SplitStep
from tlstm_jax.cells.linear import input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.lstm import LSTMCarry
from tlstm_jax.typing import Array, Params

FORMS = ("lstm", "stable", "leaky")
BLOCKS = 5


@dataclasses.dataclass(frozen=True)
class DiagonalLSTM(SplitStep):
    """One step for every column of an image at once, each in the row below its last one.

    The carry is each column's state in its last row, [B, W, M] each. Column j is one row ahead of
    column j + 1, so what it has before the step is the left neighbour of what column j + 1 makes.
    Without columns, [B, M], it is one column, whose left neighbour is zero.

    Parameters: {"input": {"kernel" [I, 5M]}, "recurrent": {"kernel" [2M, 5M], "bias" [5M]}}; U has
    the rows of the upper neighbour, then those of the left one. Blocks: i, f, f', g, o of "lstm";
    i, f, l, g, o of "stable"; o', f, l, g, o of "leaky".

    Attributes:
      features: M.
      form: one of FORMS.
      columns: W; None for vectors.
      restarts: whether inputs have one more feature: 0 where a row has no upper neighbour, else 1.
      dtype: the dtype of the computation; None is the parameters' dtype.
    """

    features: int
    _: dataclasses.KW_ONLY
    form: str = "lstm"
    columns: int | None = None
    restarts: bool = False
    dtype: Any = None

    def init(self, key: Array, size: int, *, forget_bias: Any, input_scale: Any) -> Params:
        """Parameters for vectors, or locations, of `size` features."""
        M = self.features
        w, *halves = jax.random.split(key, 3)
        # Orthogonal for each block and neighbour, halved in variance: the two are summed.
        of_h = jnp.concatenate([recurrent_kernel(half, M, gates=BLOCKS) for half in halves])
        end = 3 * M if self.form == "lstm" else 2 * M
        return {
            "input": {"kernel": input_kernel(w, (size, BLOCKS * M), input_scale)},
            "recurrent": {
                "kernel": of_h * jnp.float32(0.5**0.5),
                "bias": jnp.zeros((BLOCKS * M,), jnp.float32).at[M:end].set(forget_bias),
            },
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        """h and c, both [B, W, M], or [B, M]."""
        spatial = () if self.columns is None else (self.columns,)
        shape = (batch_size, *spatial, self.features)
        return LSTMCarry(jnp.zeros(shape, self.dtype or dtype), jnp.zeros(shape, dtype))

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 5M]; with `restarts` [.., 5M + 1]."""
        x, keep = self._split(x)
        z = linear(x, params["input"], self.dtype)
        return _joined(z, keep)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + [h_up, h_left] U + b, as wide as z."""
        z, keep = self._split(z)
        up, left = self._neighbours(carry.hidden.astype(z.dtype), keep)
        a = z + linear(jnp.concatenate([up, left], axis=-1), params["recurrent"], z.dtype)
        return _joined(a, keep)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c and h of the next row from the pre-activations."""
        del params
        a, keep = self._split(a.astype(carry.memory.dtype))
        up, left = self._neighbours(carry.memory, keep)
        first, f, second, g, o = jnp.split(a, BLOCKS, axis=-1)
        first, f, second, o = (jax.nn.sigmoid(gate) for gate in (first, f, second, o))
        g = jnp.tanh(g)
        before = f * up + second * left if self.form == "lstm" else second * (up - left) + left
        if self.form == "leaky":
            c = (1 - f) * g + f * before
            h = jnp.tanh(o * c + first * before)
        else:
            c = first * g + (before if self.form == "lstm" else f * before)
            h = o * jnp.tanh(c)
        h = h.astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h

    def _split(self, x: Array) -> tuple[Array, Array | None]:
        """The features of x and, with `restarts`, the one that follows them."""
        return (x[..., :-1], x[..., -1:]) if self.restarts else (x, None)

    def _neighbours(self, state: Array, keep: Array | None) -> tuple[Array, Array]:
        """A state [B, W, M] of the upper and of the left neighbours, zero where there are none."""
        up = state if keep is None else state * jnp.broadcast_to(keep, state.shape)
        if self.columns is None:
            return up, jnp.zeros_like(state)
        return up, jnp.concatenate([jnp.zeros_like(state[:, :1]), state[:, :-1]], axis=1)


def _joined(a: Array, keep: Array | None) -> Array:
    return a if keep is None else jnp.concatenate([a, keep.astype(a.dtype)], axis=-1)
