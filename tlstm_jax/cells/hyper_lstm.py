"""The HyperLSTM: a small LSTM scales the weights of a large one, at every step.

Ha, Dai and Le, "HyperNetworks", ICLR 2017; with layer normalization.

    e_t = LSTM([h_{t-1}, x_t]), each gate LN(.. W + e_{t-1} U + b), N features: the small one
    z_h = e_t A_h + a_h,  z_x = e_t A_x + a_x,  z_b = e_t A_b    for each gate: E numbers
    a = LN((z_h D_h) * (h_{t-1} U) + (z_x D_x) * (x_t W) + z_b D_b + b)        for each gate
    i, f, o = sigm(a) each                                       g = tanh(a)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(LN(c_t))                                      y_t = h_t

The paper prints e_{t-1} where its code (hardmaru/supercell) has e_t. Here the code is followed,
also in the normalization of the small LSTM, which the paper calls layer-normalized. The small
LSTM's bias is in the paper, and in some versions of that code, where epsilon is 1e-3.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.layer_norm_lstm import gate_norm_update, init_gate_norms, scatter_biases
from tlstm_jax.cells.linear import (
    add_bias,
    check_epsilon,
    check_size,
    input_kernel,
    linear,
    recurrent_kernel,
    scaled_normal,
)
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params


class HyperCarry(NamedTuple):
    main: LSTMCarry  # h, c [B, M]
    hyper: LSTMCarry  # of the small LSTM [B, N]


@dataclasses.dataclass(frozen=True)
class HyperLSTM(DelayFree):
    """The layer-normalized HyperLSTM; gates in the order i, f, g, o.

    Parameters: the LSTM's; "norm": {"scale", "bias" [4M]}, "memory_norm": {"scale", "bias" [M]};
    "hyper": {"input": {"kernel" [M + I, 4N]} over [h, x], "recurrent": {"kernel" [N, 4N],
    "bias" [4N]}, "norm": {"scale", "bias" [4N]}, "memory_norm": {"scale", "bias" [N]}}; "embed_h",
    "embed_x": {"kernel" [N, 4E], "bias" [4E]}, "embed_b": {"kernel" [N, 4E]}; "scale_h", "scale_x",
    "scale_b": {"kernel" [4, E, M]}. Its products with the state follow one another, so it has no
    project / mix / update.

    Attributes:
      features: M.
      hyper_features: N, of the small LSTM.
      embedding_features: E, the width of the small LSTM's embedding for each gate.
      forget_bias: initial bias of the f gates of both LSTMs, after their normalization.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      epsilon: added to the variances; > 0.
      bias_scale: initial standard deviation of both b. With 0, as in the authors' code, a sequence
        that begins with zero inputs keeps sums and c at 0, where the gradient of a normalization is
        1 / sqrt(epsilon) at every step.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import HyperLSTM
      >>> cell = HyperLSTM(4, hyper_features=5, embedding_features=2)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    hyper_features: int = 32
    embedding_features: int = 4
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    epsilon: float = dataclasses.field(default=1e-5, metadata=STATIC)
    bias_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        for name in ("features", "hyper_features", "embedding_features"):
            check_size(name, getattr(self, name))
        check_epsilon(self.epsilon)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M, N, E = (
            self.features,
            self.hyper_features,
            self.embedding_features,
        )
        gates, small_h, small_x, small_u, b, small_b = jax.random.split(key, 6)
        # The small LSTM reads h and x, which may be of different scales.
        of_h = scaled_normal(small_h, (M, 4 * N), 1.0)
        of_x = input_kernel(small_x, (I, 4 * N), self.input_scale)
        embed = {
            "kernel": jnp.zeros((N, 4 * E), jnp.float32),
            "bias": jnp.ones((4 * E,), jnp.float32),
        }
        scale = {"kernel": jnp.full((4, E, M), 0.1 / E, jnp.float32)}
        main = init_gates(gates, I, M, self.input_scale, 0.0)
        small = {
            "recurrent": {
                "kernel": recurrent_kernel(small_u, N, gates=4),
                "bias": jnp.zeros((4 * N,), jnp.float32),
            }
        }
        return {
            **scatter_biases(gates, main, self.bias_scale),
            "hyper": {
                "input": {"kernel": jnp.concatenate([of_h, of_x])},
                **scatter_biases(small_b, small, self.bias_scale),
                **init_gate_norms(N, self.forget_bias),
            },
            "embed_h": embed,
            "embed_x": embed,
            "embed_b": {"kernel": scaled_normal(b, (N, 4 * E), 0.01, fan_in=1)},
            "scale_h": scale,
            "scale_x": scale,
            "scale_b": {"kernel": jnp.zeros((4, E, M), jnp.float32)},
            **init_gate_norms(M, self.forget_bias),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> HyperCarry:
        sizes = (self.features, self.hyper_features)
        return HyperCarry(*(zero_carry(batch_size, n, dtype, self.dtype) for n in sizes))

    def step(self, params: Params, carry: HyperCarry, x: Array) -> tuple[HyperCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        M, main, kernel = self.features, carry.main, params["hyper"]["input"]["kernel"]
        xW = linear(x, params["input"], self.dtype)
        a = linear(main.hidden, {"kernel": kernel[:M]}, xW.dtype)
        a = a + linear(x, {"kernel": kernel[M:]}, xW.dtype)
        a = a + linear(carry.hyper.hidden, params["hyper"]["recurrent"], xW.dtype)
        small = gate_norm_update(params["hyper"], carry.hyper, a, self.epsilon)

        hU = linear(main.hidden, {"kernel": params["recurrent"]["kernel"]}, xW.dtype)
        a = self._scale(params, "h", small.hidden) * _by_gate(hU)
        a = a + self._scale(params, "x", small.hidden) * _by_gate(xW)
        a = a + self._scale(params, "b", small.hidden)
        a = add_bias(a.reshape(xW.shape), params["recurrent"]["bias"])
        main = gate_norm_update(params, main, a, self.epsilon)
        return HyperCarry(main, small), main.hidden

    def _scale(self, params: Params, of: str, small: Array) -> Array:
        """(e A + a) D for every gate: [B, 4, M]."""
        z = _by_gate(linear(small, params[f"embed_{of}"], small.dtype))
        return jnp.einsum("bge,gem->bgm", z, params[f"scale_{of}"]["kernel"].astype(z.dtype))


def _by_gate(a: Array) -> Array:
    """[B, 4M] to [B, 4, M]."""
    return a.reshape(a.shape[0], 4, -1)
