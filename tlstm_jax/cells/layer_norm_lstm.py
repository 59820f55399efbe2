"""The LSTM with layer normalization.

Ba, Kiros and Hinton, "Layer Normalization", 2016.

    a = LN(x_t W) + LN(h_{t-1} U) + b        over all gates; each LN with its own scale and bias
    i, f, o = sigm(a) each                   g = tanh(a)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(LN(c_t))                  y_t = h_t

`GateNormLSTM` normalizes each gate's sum instead, as the code of Ha, Dai and Le, "HyperNetworks",
ICLR 2017, and of Mujika, Meier and Steger, "Fast-Slow Recurrent Neural Networks", NIPS 2017, does:

    a = LN(x_t W + h_{t-1} U + b)            for each gate
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import (
    add_bias,
    check_epsilon,
    check_size,
    init_norm,
    layer_norm,
    linear,
    scaled_normal,
)
from tlstm_jax.cells.lstm import LSTMCarry, init_gates, zero_carry
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params


@dataclasses.dataclass(frozen=True)
class LayerNormLSTM(SplitStep, DelayFree):
    """The layer-normalized LSTM; gates in the order i, f, g, o. Memory is carried un-normalized.

    Parameters: the LSTM's, and {"input_norm", "recurrent_norm": {"scale", "bias" [4M]},
    "memory_norm": {"scale", "bias" [M]}}.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate, on average; the others' is 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      epsilon: added to the variances; > 0.
      bias_scale: initial standard deviation of b, around the means above. With 0, as in the paper,
        a sequence that begins with zero inputs keeps c = 0, where the gradient of LN(c) is
        1 / sqrt(epsilon) at every step.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import LayerNormLSTM
      >>> cell = LayerNormLSTM(4)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, sorted(params["memory_norm"])
      ((2, 4), ['bias', 'scale'])
    """

    features: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    epsilon: float = dataclasses.field(default=1e-5, metadata=STATIC)
    bias_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_epsilon(self.epsilon)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        gates = init_gates(key, I, M, self.input_scale, self.forget_bias)
        return {
            **scatter_biases(key, gates, self.bias_scale),
            "input_norm": init_norm(4 * M),
            "recurrent_norm": init_norm(4 * M),
            "memory_norm": init_norm(M),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """LN(x W): [.., 4M]."""
        return layer_norm(
            linear(x, params["input"], self.dtype), params["input_norm"], self.epsilon
        )

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z and h U side by side: [B, 8M]."""
        kernel = {"kernel": params["recurrent"]["kernel"]}
        return jnp.concatenate([z, linear(carry.hidden, kernel, z.dtype)], axis=-1)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the pre-activations."""
        z, hU = jnp.split(a.astype(carry.memory.dtype), 2, axis=-1)
        a = z + layer_norm(hU, params["recurrent_norm"], self.epsilon)
        i, f, g, o = jnp.split(add_bias(a, params["recurrent"]["bias"]), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        shown = layer_norm(c, params["memory_norm"], self.epsilon)
        h = (jax.nn.sigmoid(o) * jnp.tanh(shown)).astype(carry.hidden.dtype)
        return LSTMCarry(h, c), h


@dataclasses.dataclass(frozen=True)
class GateNormLSTM(SplitStep, DelayFree):
    """The LSTM with layer normalization of each gate's sum; gates in the order i, f, g, o.

    Parameters: the LSTM's, and {"norm": {"scale", "bias" [4M]}, "memory_norm": {"scale",
    "bias" [M]}}.

    Attributes:
      features: M.
      forget_bias: initial bias of the f gate, after its normalization.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype.
      epsilon: added to the variances; > 0.
      bias_scale: initial standard deviation of b. With 0, a sequence that begins with zero inputs
        keeps sums and c at 0, where the gradient of a normalization is 1 / sqrt(epsilon).
    """

    features: int
    _: dataclasses.KW_ONLY
    forget_bias: float = 1.0
    input_scale: float | None = None
    dtype: Any = None
    epsilon: float = dataclasses.field(default=1e-3, metadata=STATIC)
    bias_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_epsilon(self.epsilon)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        gates = init_gates(key, I, M, self.input_scale, 0.0)
        return {
            **scatter_biases(key, gates, self.bias_scale),
            **init_gate_norms(M, self.forget_bias),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> LSTMCarry:
        return zero_carry(batch_size, self.features, dtype, self.dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x W: [.., 4M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: LSTMCarry, z: Array) -> Array:
        """z + h U + b: [B, 4M]."""
        return z + linear(carry.hidden, params["recurrent"], z.dtype)

    def update(self, params: Params, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        """c_t and h_t from the sums."""
        carry = gate_norm_update(params, carry, a, self.epsilon)
        return carry, carry.hidden


def scatter_biases(key: Array, gates: Params, scale: Any) -> Params:
    """`gates`, the parameters of an LSTM, with noise of this standard deviation on their biases."""
    bias = gates["recurrent"]["bias"]
    noise = scaled_normal(jax.random.fold_in(key, 2), bias.shape, scale, fan_in=1)
    return {**gates, "recurrent": {**gates["recurrent"], "bias": bias + noise}}


def init_gate_norms(features: int, forget_bias: Any) -> dict[str, dict[str, Array]]:
    """ "norm" and "memory_norm" of a `GateNormLSTM`."""
    norm = init_norm(4 * features)
    bias = norm["bias"].at[features : 2 * features].set(forget_bias)
    return {"norm": {**norm, "bias": bias}, "memory_norm": init_norm(features)}


def gate_norm_update(params: Params, carry: LSTMCarry, a: Array, epsilon: float) -> LSTMCarry:
    """The LSTM's c and h from the sums a [B, 4M], each gate and the memory normalized."""
    M, c = carry.memory.shape[-1], carry.memory
    norms = [{k: v[n * M : (n + 1) * M] for k, v in params["norm"].items()} for n in range(4)]
    i, f, g, o = (
        layer_norm(part, norm, epsilon)
        for part, norm in zip(jnp.split(a.astype(c.dtype), 4, axis=-1), norms, strict=True)
    )
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    shown = layer_norm(c, params["memory_norm"], epsilon)
    return LSTMCarry((jax.nn.sigmoid(o) * jnp.tanh(shown)).astype(carry.hidden.dtype), c)
