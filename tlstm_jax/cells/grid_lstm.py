"""The Grid LSTM over depth and time, 2-LSTM.

Kalchbrenner, Danihelka and Graves, "Grid Long Short-Term Memory", ICLR 2016.

    (h, m) = x_t W + b                                 of the depth dimension, below the first layer
    for each layer, with its own (h^T, m^T) of the previous step:
        h^T, m^T = LSTM_time([h, h^T], m^T)
        h, m = LSTM_depth([h, h^T], m)                 sees the new h^T
    y_t = h, above the last layer

    LSTM(H, m):  i, f, o = sigm(H U + b) each,        g = tanh(H U + b)
                 m' = f * m + i * g,                  h' = o * tanh(m')
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.linear import check_size, input_kernel, linear, recurrent_kernel
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class GridCarry(NamedTuple):
    hidden: Array  # h^T of every layer [B, L, M]
    memory: Array  # m^T of every layer [B, L, M]


@dataclasses.dataclass(frozen=True)
class GridLSTM(DelayFree):
    """The 2-LSTM; gates in the order i, f, g, o.

    Parameters: {"input": {"kernel" [I, 2M], "bias" [2M]}, "layer": {"time", "depth":
    {"kernel" [2M, 4M], "bias" [4M]}}}; untied, "layer_0", "layer_1" and so on. Its products with
    the state follow one another, so it has no project / mix / update.

    Attributes:
      features: M.
      num_layers: L >= 1.
      tied: whether the layers share their weights.
      forget_bias: initial bias of the f gates; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GridLSTM
      >>> cell = GridLSTM(4, num_layers=2, tied=True)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, sorted(params)
      ((2, 4), ['input', 'layer'])
    """

    features: int
    _: dataclasses.KW_ONLY
    num_layers: int = 2
    tied: bool = False
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("num_layers", self.num_layers)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, *keys = jax.random.split(key, 1 + (1 if self.tied else self.num_layers))

        def block(key: Array) -> Params:
            of_depth, of_time = jax.random.split(key)
            # Orthogonal for each gate and dimension, halved in variance: the two are summed.
            halves = [recurrent_kernel(k, M, gates=4) for k in (of_depth, of_time)]
            bias = jnp.zeros((4 * M,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
            return {"kernel": jnp.concatenate(halves) * jnp.float32(0.5**0.5), "bias": bias}

        layers = [
            {
                name: block(k)
                for name, k in zip(("time", "depth"), jax.random.split(key), strict=True)
            }
            for key in keys
        ]
        names = ["layer"] if self.tied else [f"layer_{n}" for n in range(self.num_layers)]
        return {
            "input": {
                "kernel": input_kernel(w, (I, 2 * M), self.input_scale),
                "bias": jnp.zeros((2 * M,), jnp.float32),
            },
            **dict(zip(names, layers, strict=True)),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> GridCarry:
        shape = (batch_size, self.num_layers, self.features)
        return GridCarry(jnp.zeros(shape, self.dtype or dtype), jnp.zeros(shape, dtype))

    def step(self, params: Params, carry: GridCarry, x: Array) -> tuple[GridCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h [B, M]."""
        h, m = jnp.split(linear(x, params["input"], self.dtype), 2, axis=-1)
        m = m.astype(carry.memory.dtype)
        states = []
        for n in range(self.num_layers):
            layer = params["layer" if self.tied else f"layer_{n}"]
            h_time, m_time = carry.hidden[:, n], carry.memory[:, n]
            h_time, m_time = _lstm(layer["time"], h, h_time, m_time)
            h, m = _lstm(layer["depth"], h, h_time, m)
            states.append((h_time.astype(carry.hidden.dtype), m_time))
        hidden, memory = (jnp.stack(part, axis=1) for part in zip(*states, strict=True))
        return GridCarry(hidden, memory), h


def _lstm(params: Params, h_depth: Array, h_time: Array, m: Array) -> tuple[Array, Array]:
    """h' in the dtype of h_depth, m' in that of m."""
    H = jnp.concatenate([h_depth, h_time.astype(h_depth.dtype)], axis=-1)
    i, f, g, o = jnp.split(linear(H, params, H.dtype).astype(m.dtype), 4, axis=-1)
    m = jax.nn.sigmoid(f) * m + jax.nn.sigmoid(i) * jnp.tanh(g)
    return (jax.nn.sigmoid(o) * jnp.tanh(m)).astype(H.dtype), m
