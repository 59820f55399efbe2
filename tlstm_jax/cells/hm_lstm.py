"""The hierarchical multiscale LSTM: layers that learn when to update, copy or flush.

Chung, Ahn and Bengio, "Hierarchical Multiscale Recurrent Neural Networks", ICLR 2017. With z =
z^l_{t-1} the layer's own boundary, zb = z^{l-1}_t that of the layer below (1 for the input), at
layer l:

    a = h^l_{t-1} U + z * (h^{l+1}_{t-1} U_top) + zb * (h^{l-1}_t W) + b
    i, f, o = sigm(a) each                g = tanh(a)
    c_t = f * c_{t-1} + i * g             z = 0, zb = 1: update
        = c_{t-1}                         z = 0, zb = 0: copy, and h_t = h_{t-1}
        = i * g                           z = 1:         flush
    h_t = o * tanh(c_t)
    z_t = 1 if hard_sigm(a_z) > 0.5       hard_sigm(a) = clip((slope a + 1) / 2, 0, 1)

    y_t = relu(sum_l g_l (h^l_t E_l)),    g = sigm([h^1_t .. h^L_t] G)

The boundary's gradient is that of hard_sigm (straight through). The top layer has neither U_top nor
z.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.linear import (
    check_size,
    input_kernel,
    is_integer,
    linear,
    recurrent_kernel,
    scaled_normal,
)
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params


class HMCarry(NamedTuple):
    hidden: Array  # h of every layer [B, L, M]
    memory: Array  # c of every layer [B, L, M]
    boundary: Array  # z of every layer but the top one, 0 or 1 [B, L - 1]


@dataclasses.dataclass(frozen=True)
class HMLSTM(DelayFree):
    """The HM-LSTM with its output module; blocks in the order i, f, g, o, z.

    Parameters: "layer_0" and so on: {"recurrent": {"kernel" [M, 4M + 1], "bias" [4M + 1]},
    "bottom_up": {"kernel" [I or M, 4M + 1]}, "top_down": {"kernel" [M, 4M + 1]}}, the top layer
    without "top_down" and with 4M columns; {"output": {"gate": {"kernel" [L M, L]}, "embed":
    {"kernel" [L, M, M]}}}. It has no project / mix / update. An entry "slope" of the parameters
    overrides the attribute.

    Attributes:
      features: M, of every layer and of y.
      num_layers: L >= 2.
      slope: of the hard sigmoid; see `tlstm_jax.models.annealed_hm_lstm` for its annealing.
      forget_bias: initial bias of the f gates; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import HMLSTM
      >>> cell = HMLSTM(4, num_layers=2)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, sorted(params)
      ((2, 4), ['layer_0', 'layer_1', 'output'])
    """

    features: int
    _: dataclasses.KW_ONLY
    num_layers: int = 3
    slope: float = dataclasses.field(default=1.0, metadata=STATIC)
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    copies_hidden: ClassVar[bool] = True  # see `recurrent_dropout`
    optional_params: ClassVar[tuple[str, ...]] = ("slope",)

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if not is_integer(self.num_layers, 2):
            raise ValueError(
                f"num_layers is {self.num_layers}; accepted in an HM-LSTM are integers >= 2"
            )

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M, L = self.features, self.num_layers
        gate, embed, *keys = jax.random.split(key, 2 + L)
        params = {}
        for n in range(L):
            u, w, top, z_u, z_top = jax.random.split(keys[n], 5)
            top_layer = n == L - 1
            width = 4 * M if top_layer else 4 * M + 1
            bias = jnp.zeros((width,), jnp.float32).at[M : 2 * M].set(self.forget_bias)
            size, scale = (M, None) if n else (I, self.input_scale)
            of_layer = {
                "recurrent": {"kernel": _state_kernel(u, z_u, M, width), "bias": bias},
                "bottom_up": {"kernel": input_kernel(w, (size, width), scale)},
            }
            if not top_layer:
                of_layer["top_down"] = {"kernel": _state_kernel(top, z_top, M, width)}
            params[f"layer_{n}"] = of_layer
        params["output"] = {
            "gate": {"kernel": scaled_normal(gate, (L * M, L), 1.0)},
            "embed": {"kernel": scaled_normal(embed, (L, M, M), 1.0)},
        }
        return params

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> HMCarry:
        B, L, M = batch_size, self.num_layers, self.features
        hidden = jnp.zeros((B, L, M), self.dtype or dtype)
        return HMCarry(hidden, jnp.zeros((B, L, M), dtype), jnp.zeros((B, L - 1), dtype))

    def step(self, params: Params, carry: HMCarry, x: Array) -> tuple[HMCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and y_t [B, M]."""
        M, L, wide = self.features, self.num_layers, carry.memory.dtype
        dtype = self.dtype or params["layer_0"]["bottom_up"]["kernel"].dtype
        slope = jnp.asarray(params.get("slope", self.slope), wide)
        below, hidden, memory, boundaries = x, [], [], []
        zb = jnp.ones((carry.memory.shape[0], 1), wide)
        for n in range(L):
            layer, h, c = params[f"layer_{n}"], carry.hidden[:, n], carry.memory[:, n]
            a = linear(h, layer["recurrent"], dtype)
            a = a + zb.astype(dtype) * linear(below, layer["bottom_up"], dtype)
            z = jnp.zeros_like(zb)
            if n < L - 1:
                z = carry.boundary[:, n : n + 1]
                top_down = linear(carry.hidden[:, n + 1], layer["top_down"], dtype)
                a = a + z.astype(dtype) * top_down
            a = a.astype(wide)
            i, f, g, o = jnp.split(a[:, : 4 * M], 4, axis=-1)
            new = jax.nn.sigmoid(i) * jnp.tanh(g)
            updated = zb * (jax.nn.sigmoid(f) * c + new) + (1 - zb) * c
            c = z * new + (1 - z) * updated
            copied = (1 - z) * (1 - zb)
            h = copied * h.astype(wide) + (1 - copied) * jax.nn.sigmoid(o) * jnp.tanh(c)
            below = h.astype(carry.hidden.dtype)
            hidden.append(below)
            memory.append(c)
            if n < L - 1:
                zb = _boundary(a[:, 4 * M :], slope)
                boundaries.append(zb)
        carry = HMCarry(
            jnp.stack(hidden, axis=1),
            jnp.stack(memory, axis=1),
            jnp.concatenate(boundaries, axis=1),
        )
        return carry, _output(params["output"], carry.hidden.astype(dtype))


def _state_kernel(key: Array, boundary_key: Array, M: int, width: int) -> Array:
    """[M, 4M] orthogonal for each gate, and perhaps a column for the boundary."""
    column = scaled_normal(boundary_key, (M, width - 4 * M), 1.0)
    return jnp.concatenate([recurrent_kernel(key, M, gates=4), column], axis=-1)


def _boundary(a: Array, slope: Array) -> Array:
    """1 where hard_sigm(a) > 0.5, else 0; with the gradient of hard_sigm."""
    soft = jnp.clip((slope * a + 1) / 2, 0, 1)
    return (soft > 0.5).astype(a.dtype) + (soft - lax.stop_gradient(soft))


def _output(params: Params, hidden: Array) -> Array:
    """h of all layers [B, L, M] to y [B, M]."""
    B, L, M = hidden.shape
    gates = jax.nn.sigmoid(linear(hidden.reshape(B, L * M), params["gate"], hidden.dtype))
    kernel = params["embed"]["kernel"].astype(hidden.dtype)
    return jax.nn.relu((gates[..., None] * hidden).reshape(B, L * M) @ kernel.reshape(L * M, M))
