"""The HyperLSTM: a small LSTM scales the weights of a large one, at every step.

Ha, Dai and Le, "HyperNetworks", ICLR 2017; with layer normalization.

    e_t = LayerNormLSTM([h_{t-1}, x_t])                          the small one, N features
    z_h = e_t A_h + a_h,  z_x = e_t A_x + a_x,  z_b = e_t A_b    for each gate: E numbers
    a = LN((z_h D_h) * (h_{t-1} U) + (z_x D_x) * (x_t W) + z_b D_b + b)        for each gate
    i, f, o = sigm(a) each                                       g = tanh(a)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(LN(c_t))                                      y_t = h_t

The paper prints e_{t-1} where its code has e_t; this is the code's.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.layer_norm_lstm import LayerNormLSTM
from tlstm_jax.cells.linear import (
    add_bias,
    check_size,
    init_norm,
    layer_norm,
    linear,
    scaled_normal,
    with_hyper,
)
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.typing import Array, Hyper, Params


class HyperCarry(NamedTuple):
    main: LSTMCarry  # h, c [B, M]
    hyper: LSTMCarry  # of the small LSTM [B, N]


@dataclasses.dataclass(frozen=True)
class HyperLSTM:
    """The layer-normalized HyperLSTM; gates in the order i, f, g, o.

    Parameters: the LSTM's; "hyper", those of a `LayerNormLSTM` of N features over inputs [h, x];
    "embed_h", "embed_x": {"kernel" [N, 4E], "bias" [4E]}, "embed_b": {"kernel" [N, 4E]}; "scale_h",
    "scale_x", "scale_b": {"kernel" [4, E, M]}; "norm": {"scale", "bias" [4M]}, "memory_norm": {"scale",
    "bias" [M]}. Its products with the state follow one another, so that it has no project / mix / update.

    Attributes:
      features: M.
      hyper_features: N, of the small LSTM.
      embedding_features: E.
      forget_bias: initial bias of the f gates, of both; the others start at 0.
      input_scale: standard deviation of W at the start; None is variance scaling, 1 / sqrt(I).
      dtype: what is computed in; None is the parameters' dtype.
    """

    features: int
    hyper_features: int = 32
    embedding_features: int = 4
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("features", "hyper_features", "embedding_features"):
            check_size(name, getattr(self, name))

    @property
    def _small(self) -> LayerNormLSTM:
        return LayerNormLSTM(self.hyper_features, dtype=self.dtype)

    def init(self, key: Array, input_size: int, *, hyper: Hyper | None = None) -> Params:
        s, M, N, E = (
            with_hyper(self, hyper),
            self.features,
            self.hyper_features,
            self.embedding_features,
        )
        gates, small, small_x, b = jax.random.split(key, 4)
        # The small LSTM reads h and x, which may be of different scales.
        scales = {"forget_bias": s.forget_bias}
        of_h = self._small.init(small, M, hyper=scales)
        if s.input_scale is not None:
            scales |= {"input_scale": s.input_scale}
        of_x = self._small.init(small_x, input_size, hyper=scales)
        kernel = jnp.concatenate([of_h["input"]["kernel"], of_x["input"]["kernel"]])
        embed = {
            "kernel": jnp.zeros((N, 4 * E), jnp.float32),
            "bias": jnp.ones((4 * E,), jnp.float32),
        }
        scale = {"kernel": jnp.full((4, E, M), 0.1 / E, jnp.float32)}
        return {
            **init_gates(gates, input_size, M, s.input_scale, s.forget_bias),
            "hyper": {**of_h, "input": {"kernel": kernel}},
            "embed_h": embed,
            "embed_x": embed,
            "embed_b": {"kernel": scaled_normal(b, (N, 4 * E), 0.01, fan_in=1)},
            "scale_h": scale,
            "scale_x": scale,
            "scale_b": {"kernel": jnp.zeros((4, E, M), jnp.float32)},
            "norm": init_norm(4 * M),
            "memory_norm": init_norm(M),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> HyperCarry:
        return HyperCarry(
            zero_carry(batch_size, self.features, dtype, self.dtype),
            self._small.init_carry(batch_size, dtype),
        )

    def step(self, params: Params, carry: HyperCarry, x: Array) -> tuple[HyperCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        M, (h, c) = self.features, carry.main
        xW = linear(x, params["input"], self.dtype)
        small = self._step_small(params["hyper"], carry.hyper, h, x)
        a = self._scale(params, "x", small.hidden) * _by_gate(xW)
        hU = linear(h, {"kernel": params["recurrent"]["kernel"]}, xW.dtype)
        a = a + self._scale(params, "h", small.hidden) * _by_gate(hU)
        a = a + self._scale(params, "b", small.hidden)
        a = add_bias(a.reshape(-1, 4 * M), params["recurrent"]["bias"]).astype(c.dtype)
        norms = [{k: v[n * M : (n + 1) * M] for k, v in params["norm"].items()} for n in range(4)]
        i, f, g, o = map(layer_norm, jnp.split(a, 4, axis=-1), norms)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        shown = layer_norm(c, params["memory_norm"])
        h = (jax.nn.sigmoid(o) * jnp.tanh(shown)).astype(h.dtype)
        return HyperCarry(LSTMCarry(h, c), small), h

    def _step_small(self, params: Params, carry: LSTMCarry, h: Array, x: Array) -> LSTMCarry:
        """The small LSTM on [h, x], where x may be tokens."""
        cell, M, kernel = self._small, self.features, params["input"]["kernel"]
        dtype = self.dtype or kernel.dtype
        z = linear(h, {"kernel": kernel[:M]}, dtype) + linear(x, {"kernel": kernel[M:]}, dtype)
        z = layer_norm(z, params["input_norm"])
        return cell.update(params, carry, cell.mix(params, carry, z))[0]

    def _scale(self, params: Params, of: str, small: Array) -> Array:
        """(e A + a) D for every gate: [B, 4, M]."""
        z = _by_gate(linear(small, params[f"embed_{of}"], small.dtype))
        return jnp.einsum("bge,gem->bgm", z, params[f"scale_{of}"]["kernel"].astype(z.dtype))

    init_token_carry = init_carry
    token_step = step


def _by_gate(a: Array) -> Array:
    """[B, 4M] to [B, 4, M]."""
    return a.reshape(a.shape[0], 4, -1)
