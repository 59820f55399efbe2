"""The matrix LSTM of xLSTM, its mLSTM: exponential gates, and a memory that is a matrix.

Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter and Hochreiter, "xLSTM:
Extended Long Short-Term Memory", NeurIPS 2024. (The multiplicative LSTM of 2016 is `mlstm`.) For
each head:

    q_t = x_t W_q,  k_t = x_t W_k / sqrt(K),  v_t = x_t W_v
    i_t = x_t w_i + b_i,  f_t = log sigm(x_t w_f + b_f),  o_t = sigm(x_t W_o + b_o)
    m_t = max(f_t + m_{t-1}, i_t)                                           the stabilizer
    C_t = exp(f_t + m_{t-1} - m_t) C_{t-1} + exp(i_t - m_t) k_t^T v_t       [K, V]
    n_t = exp(f_t + m_{t-1} - m_t) n_{t-1} + exp(i_t - m_t) k_t             [K]
    y_t = o_t * (q_t C_t) / max(|q_t n_t|, exp(-m_t))

m_t depends on the input alone and does not change y_t; it keeps exponentials finite. n_t is here one
more column of C_t.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import linear
from tlstm_jax.models.matrix_recurrence import MatrixRecurrence
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.matrix_recurrence import Terms, matrix_recurrence, matrix_step
from tlstm_jax.recurrence.unrolling import sequence_mask
from tlstm_jax.typing import Array, InputShape, Params, State


class MatrixLSTMCarry(NamedTuple):
    memory: Array  # [C, n], [B, H, K, V + 1]
    stabilizer: Array  # m [B, H]


@dataclasses.dataclass(frozen=True)
class MatrixLSTM(MatrixRecurrence):
    """One layer of xLSTM's mLSTM, in parallel over time; a SequenceModel.

    Parameters: {"query", "key": {"kernel" [I, H K]}, "value": {"kernel" [I, M]}, "gates": {"kernel"
    [I, 2 H], "bias" [2 H]}: i, f; "output": {"kernel" [I, M], "bias" [M]}: o}.

    Attributes:
      features: M.
      num_heads: H, by which M can be divided.
      key_features: K, the width of a head's queries and keys; None is M / H.
      chunk_size: steps that are computed together; 1 is a loop over the steps.
      forget_bias: initial b_f of the first head.
      forget_range: how much more it is of the last head, those between evenly spaced.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import MatrixLSTM
      >>> model = MatrixLSTM(4, num_heads=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 4)
    """

    features: int
    _: dataclasses.KW_ONLY
    num_heads: int = 2
    key_features: int | None = None
    chunk_size: int = 32
    forget_bias: float = 3.0
    forget_range: float = 3.0
    dtype: Any = None

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        H, HK, M = self.num_heads, self.num_heads * self.key_size, self.features
        of_kernels, of_bias = jax.random.split(key)
        params = self.init_kernels(
            of_kernels, input_shape, query=HK, key=HK, value=M, gates=2 * H, output=M
        )
        share = jnp.linspace(0.0, 1.0, H, dtype=jnp.float32)
        forget = self.forget_bias + self.forget_range * share
        params["gates"]["bias"] = jnp.concatenate(
            [0.1 * jax.random.normal(of_bias, (H,), jnp.float32), forget]
        )
        params["output"]["bias"] = jnp.zeros((M,), jnp.float32)
        return params, ()

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> MatrixLSTMCarry:
        (memory,) = super().init_carry(batch_size, dtype, params=params)
        memory = jnp.pad(memory, [(0, 0)] * 3 + [(0, 1)])
        return MatrixLSTMCarry(memory, jnp.zeros(memory.shape[:2], dtype))

    def terms(self, params: Params, x: Array) -> Terms:
        """Without the gates: those of a memory that forgets nothing."""
        q, k, v = (self._of(params, name, x) for name in ("query", "key", "value"))
        one = jnp.ones_like(v[..., :1])
        v = jnp.concatenate([v, one], axis=-1)
        return Terms(q, k / self.key_size**0.5, v, jnp.zeros_like(one))

    def output(self, params: Params, o: Array, x: Array) -> Array:
        gate = jax.nn.sigmoid(linear(x, params["output"], self.dtype))
        return gate * super().output(params, o, x)

    def all_steps(
        self,
        params: Params,
        carry: MatrixLSTMCarry,
        xs: Array,
        lengths: Array | None,
        reset: Array | None,
    ) -> tuple[MatrixLSTMCarry, Array]:
        terms, m = self.terms(params, xs), carry.stabilizer
        i, f = self._gates(params, xs, m.dtype)
        ms, before = _maxima(i, f, m, lengths, reset)
        terms = _stabilized(terms, i, f, ms, before)
        C, os = matrix_recurrence(terms, carry.memory, lengths, reset, chunk_size=self.chunk_size)
        return MatrixLSTMCarry(C, ms[-1]), _divided(os, ms).astype(terms.q.dtype)

    def one_step(
        self, params: Params, carry: MatrixLSTMCarry, x: Array
    ) -> tuple[MatrixLSTMCarry, Array]:
        terms, m = self.terms(params, x), carry.stabilizer
        i, f = self._gates(params, x, m.dtype)
        new = jnp.maximum(f + m, i)
        terms = _stabilized(terms, i, f, new, m)
        C, o = matrix_step(terms, carry.memory)
        return MatrixLSTMCarry(C, new), _divided(o, new).astype(terms.q.dtype)

    def _gates(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array]:
        i, f = jnp.split(linear(x, params["gates"], self.dtype).astype(dtype), 2, axis=-1)
        return i, jax.nn.log_sigmoid(f)  # [.., H]


def _stabilized(terms: Terms, i: Array, f: Array, m: Array, before: Array) -> Terms:
    """With the gates, in the dtype of these."""
    k = jnp.exp(i - m)[..., None] * terms.k.astype(i.dtype)
    return terms._replace(k=k, log_decay=(f + before - m)[..., None])


def _divided(o: Array, m: Array) -> Array:
    """q C / max(|q n|, exp(-m)); o [.., V + 1]."""
    most = jnp.maximum(jnp.abs(o[..., -1]), jnp.exp(-m))
    return o[..., :-1] / most[..., None]


def _maxima(
    i: Array, f: Array, m: Array, lengths: Array | None, reset: Array | None
) -> tuple[Array, Array]:
    """m_t and m_{t-1} [T, B, H] for m_t = max(f_t + m_{t-1}, i_t), by an associative scan."""
    never = jnp.full_like(f, -jnp.inf)
    alone = i
    if reset is not None:
        alone, f = select(reset, (jnp.maximum(f, i), never), (i, f))  # m_{t-1} is 0
    if lengths is not None:
        alone, f = select(sequence_mask(f, lengths), (alone, f), (never, jnp.zeros_like(f)))

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] + then[0], jnp.maximum(first[1] + then[0], then[1])

    f, alone = lax.associative_scan(compose, (f, alone))
    ms = jnp.maximum(f + jnp.broadcast_to(m[None], f.shape), alone)
    before = jnp.concatenate([m[None], ms[:-1]])
    if reset is not None:
        before = select(reset, jnp.zeros_like(before), before)
    return ms, before
