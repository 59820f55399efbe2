"""Fast weights: a recurrent matrix that the recent states write, and every step reads.

Ba, Hinton, Mnih, Leibo and Ionescu, "Using Fast Weights to Attend to the Recent Past", NIPS 2016.

    A_t = decay A_{t-1} + rate h_{t-1} h_{t-1}^T        A_1 = 0
    a = x_t W + h_{t-1} U + b                           h^0 = f(a)
    h^s = f(LN(a + h^{s-1} A_t))                        s = 1 .. S
    h_t = h^S                                           y_t = h_t

A is never needed as a matrix: h A_t is rate times the sum over past states k of decay^{t-1-k} (h . h_k)
h_k, attention to the recent past by scalar products, which `attend` computes from a whole sequence of
states. The loop here keeps the matrix, M^2 numbers that do not grow with the sequence: every step needs
the state before it, so that attention would save no sequential step, and would keep all past states.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree
from tlstm_jax.cells.linear import (
    check_epsilon,
    check_size,
    init_norm,
    input_kernel,
    is_integer,
    layer_norm,
    linear,
    scaled_normal,
)
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params

_ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def attend(queries: Array, keys: Array, values: Array, *, decay: Any, rate: Any) -> Array:
    """rate sum_{k <= t} decay^{t-k} (q_t . k_k) v_k for all t: attention to the past that fades.

    It is q_t A_t of A_t = decay A_{t-1} + rate k_t^T v_t, A_0 = 0, without A, in T^2 scores of each
    example. In fast weights of 2016 keys and values are the states before each step, h_0 .. h_{T-1};
    in those of 1992, the patterns FROM and TO.

    Args:
      queries, keys: [T, B, d].
      values: [T, B, M].

    Returns:
      [T, B, M].
    """
    T = len(queries)
    age = jnp.arange(T)[:, None] - jnp.arange(T)[None, :]  # [T, T]
    powers = jnp.asarray(decay, queries.dtype) ** jnp.maximum(age, 0).astype(queries.dtype)
    fading = jnp.where(age >= 0, jnp.asarray(rate, queries.dtype) * powers, jnp.zeros_like(powers))
    scores = jnp.einsum("tbd,kbd->btk", queries, keys) * fading[None]
    return jnp.einsum("btk,kbm->tbm", scores, values)


class FastWeightsCarry(NamedTuple):
    hidden: Array  # h [B, M]
    memory: Array  # A [B, M, M]


@dataclasses.dataclass(frozen=True)
class FastWeights(DelayFree):
    """The fast-weights RNN. With rate = 0 it is an Elman network with layer normalization.

    Parameters: {"input": {"kernel" [I, M]}, "recurrent": {"kernel" [M, M], "bias" [M]}, "norm":
    {"scale", "bias" [M]}}. Its products with A follow one another, so it has no project / mix / update.
    A step takes S + 1 products of M^2 numbers for each example.

    Attributes:
      features: M.
      inner_steps: S >= 1.
      decay: how much of A is kept at a step.
      rate: how strongly a state is written to A.
      activation: f, relu or tanh.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      recurrent_scale: U starts as this times the identity.
      dtype: the dtype of the computation; None is the parameters' dtype. A keeps the carry's.
      epsilon: added to the variances; > 0.
      bias_scale: initial standard deviation of b. With 0, a sequence that begins with zero inputs
        keeps sums at 0, where the gradient of a normalization is 1 / sqrt(epsilon).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import FastWeights
      >>> cell = FastWeights(4, inner_steps=2)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, carry.memory.shape
      ((2, 4), (2, 4, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    inner_steps: int = 1
    decay: float = 0.9
    rate: float = 0.5
    activation: str = "relu"
    input_scale: float | None = None
    recurrent_scale: float = 0.05
    dtype: Any = None
    epsilon: float = dataclasses.field(default=1e-5, metadata=STATIC)
    bias_scale: float = 0.1

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_epsilon(self.epsilon)
        if not is_integer(self.inner_steps, 1):
            raise ValueError(f"inner_steps is {self.inner_steps}; accepted are integers >= 1")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(
                f"activation is {self.activation!r}; accepted are {', '.join(_ACTIVATIONS)}"
            )

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features
        w, b = jax.random.split(key)
        return {
            "input": {"kernel": input_kernel(w, (I, M), self.input_scale)},
            "recurrent": {
                "kernel": jnp.eye(M, dtype=jnp.float32) * self.recurrent_scale,
                "bias": scaled_normal(b, (M,), self.bias_scale, fan_in=1),
            },
            "norm": init_norm(M),
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> FastWeightsCarry:
        B, M = batch_size, self.features
        return FastWeightsCarry(jnp.zeros((B, M), self.dtype or dtype), jnp.zeros((B, M, M), dtype))

    def step(
        self, params: Params, carry: FastWeightsCarry, x: Array
    ) -> tuple[FastWeightsCarry, Array]:
        """x [B, I] or tokens [B]; returns the carry and h_t [B, M]."""
        f = _ACTIVATIONS[self.activation]
        before = carry.hidden.astype(carry.memory.dtype)
        decay, rate = (jnp.asarray(v, before.dtype) for v in (self.decay, self.rate))
        A = decay * carry.memory + rate * before[:, :, None] * before[:, None, :]
        a = linear(x, params["input"], self.dtype)
        a = (a + linear(carry.hidden, params["recurrent"], a.dtype)).astype(A.dtype)
        h = f(a)
        for _ in range(self.inner_steps):
            h = f(layer_norm(a + jnp.einsum("bm,bmn->bn", h, A), params["norm"], self.epsilon))
        hidden = h.astype(carry.hidden.dtype)
        return FastWeightsCarry(hidden, A), hidden
