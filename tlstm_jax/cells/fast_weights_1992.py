"""Fast weights of 1992: a slow network that programs a fast one by outer products.

Schmidhuber, "Learning to Control Fast-Weight Memories: An Alternative to Dynamic Recurrent
Networks", Neural Computation 4, 1992.

    q_t = x_t W_q + b_q                                 what the fast network reads
    a_t = tanh(x_t W_a + b_a)                           the slow network's pattern FROM
    b_t = tanh(x_t W_b + b_b)                           the slow network's pattern TO
    F_t = decay F_{t-1} + rate a_t^T b_t                F_0 = 0
    y_t = tanh(q_t F_t)

The paper feeds x_t itself to the fast network (W_q = 1) and adds the changes up (decay = 1, rate =
1). It leaves open the units' activations, initial weights, and a function that bounds the fast
weights. Both networks have one layer here.

F is never needed as a matrix: q_t F_t is rate times the sum over k <= t of decay^{t-k} (q_t . a_k)
b_k, linear attention without normalization. `FastWeights1992.attention` computes that for all steps
at once, with T^2 scores; the loop keeps F, whose size does not grow with the sequence.
"""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.fast_weights import attend
from tlstm_jax.cells.linear import check_size, input_kernel, linear
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class FastWeights1992Carry(NamedTuple):
    memory: Array  # F [B, d, M], the dtype given to init_carry


@dataclasses.dataclass(frozen=True)
class FastWeights1992(SplitStep, DelayFree):
    """The fast-weight memory of 1992, with patterns FROM of d numbers and TO of M.

    Parameters: {"input": {"kernel" [I, 2d + M], "bias" [2d + M]}}, in the order q, a, b. Both
    networks are feedforward, so the past is in F alone; with decay = 1 its order is not. F grows
    with the number of steps unless decay < 1: y and its gradient stay finite, but where the tanh is
    saturated, nothing is learned.

    Attributes:
      features: M.
      query_features: d; None: M.
      decay: how much of F is kept at a step; the paper's is 1.
      rate: how strongly a pattern is written to F; None is 1 / d, so that q . a is a mean. The
        paper's is 1.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the computation; None is the parameters' dtype. F keeps the carry's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import FastWeights1992
      >>> cell = FastWeights1992(4, query_features=5)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, carry.memory.shape
      ((2, 4), (2, 5, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    query_features: int | None = None
    decay: float = 1.0
    rate: float | None = None
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        if self.query_features is not None:
            check_size("query_features", self.query_features)

    @property
    def _queries(self) -> int:
        return self.features if self.query_features is None else self.query_features

    @property
    def _rate(self) -> Any:
        return 1 / self._queries if self.rate is None else self.rate

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        width = 2 * self._queries + self.features
        return {
            "input": {
                "kernel": input_kernel(key, (I, width), self.input_scale),
                "bias": jnp.zeros((width,), jnp.float32),
            }
        }

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> FastWeights1992Carry:
        return FastWeights1992Carry(jnp.zeros((batch_size, self._queries, self.features), dtype))

    def project(self, params: Params, x: Array) -> Array:
        """[q, the sums of a and b]: [.., 2d + M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: FastWeights1992Carry, z: Array) -> Array:
        """z itself: nothing is to be mixed."""
        del params, carry
        return z

    def update(
        self, params: Params, carry: FastWeights1992Carry, a: Array
    ) -> tuple[FastWeights1992Carry, Array]:
        """F_t and y_t from q and the patterns' sums."""
        del params
        q, from_, to = self._patterns(a.astype(carry.memory.dtype))
        decay, rate = (jnp.asarray(v, q.dtype) for v in (self.decay, self._rate))
        F = decay * carry.memory + rate * from_[:, :, None] * to[:, None, :]
        return FastWeights1992Carry(F), jnp.tanh(jnp.einsum("bd,bdm->bm", q, F)).astype(a.dtype)

    def attention(self, params: Params, xs: Array) -> Array:
        """ys [T, B, M] of xs [T, B, I] or tokens [T, B], from F = 0, as attention to the past.

        The same as `unroll` from `init_carry`, without a loop: T^2 scores of B examples, and no F.
        """
        a = self.project(params, xs)
        q, from_, to = self._patterns(a if a.dtype.itemsize >= 4 else a.astype(jnp.float32))
        return jnp.tanh(attend(q, from_, to, decay=self.decay, rate=self._rate)).astype(a.dtype)

    def _patterns(self, a: Array) -> tuple[Array, Array, Array]:
        d = self._queries
        return a[..., :d], jnp.tanh(a[..., d : 2 * d]), jnp.tanh(a[..., 2 * d :])
