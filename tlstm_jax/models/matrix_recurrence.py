"""What models share whose state is a matrix for each head, and linear in itself."""

import abc
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_heads, check_size, input_kernel, linear
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.models.base import AllStepsModel
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.matrix_recurrence import Terms, matrix_recurrence, matrix_step
from tlstm_jax.typing import Array, Carry, InputShape, Params, State


class MatrixCarry(NamedTuple):
    memory: Array  # S [B, H, K, V]


class MatrixRecurrence(AllStepsModel):
    """One layer of heads, of `recurrence.matrix_recurrence`; y_t has the heads' outputs in a row.

    The recurrence is computed in the dtype of the carry, whatever that of the products with the
    weights is.
    """

    features: int
    num_heads: int
    key_features: int | None
    chunk_size: int
    dtype: Any

    def __post_init__(self) -> None:
        plain(self)
        check_heads(self.num_heads, self.features)
        for name in ("features", "chunk_size"):
            check_size(name, getattr(self, name))
        if self.key_features is not None:
            check_size("key_features", self.key_features)

    @property
    def value_size(self) -> int:
        """V of a head."""
        return self.features // self.num_heads

    @property
    def key_size(self) -> int:
        """K of a head."""
        return self.value_size if self.key_features is None else self.key_features

    @abc.abstractmethod
    def terms(self, params: Params, x: Array) -> Terms:
        """Those of inputs x [.., I], or tokens [..]."""

    def output(self, params: Params, o: Array, x: Array) -> Array:
        """y_t [.., M] of the heads' outputs [.., H, V] and x."""
        del params, x
        return o.reshape(*o.shape[:-2], self.features)

    def heads(self, a: Array) -> Array:
        """[.., H n] as [.., H, n]."""
        return a.reshape(*a.shape[:-1], self.num_heads, -1)

    def init_kernels(self, key: Array, input_shape: InputShape, /, **sizes: int) -> Params:
        """For each name the kernel [I, size] of a linear map of x."""
        I = vector_size(self, input_shape)
        keys = jax.random.split(key, len(sizes))
        return {
            name: {"kernel": input_kernel(key, (I, size), None)}
            for key, (name, size) in zip(keys, sizes.items(), strict=True)
        }

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        shape = (batch_size, self.num_heads, self.key_size, self.value_size)
        return MatrixCarry(jnp.zeros(shape, dtype))

    def run(
        self, params: Params, carry: Carry, xs: Array, lengths: Array | None, reset: Array | None
    ) -> tuple[Carry, Array]:
        carry, os = self.all_steps(params, carry, xs, lengths, reset)
        return carry, self.output(params, os, xs)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        del state
        carry, o = self.one_step(params, carry, x)
        return carry, self.output(params, o, x)

    def all_steps(
        self, params: Params, carry: Carry, xs: Array, lengths: Array | None, reset: Array | None
    ) -> tuple[Carry, Array]:
        """(the carry behind xs, the heads' outputs [T, B, H, V])."""
        terms, (S,) = self.terms(params, xs), carry
        S, os = matrix_recurrence(terms, S, lengths, reset, chunk_size=self.chunk_size)
        return MatrixCarry(S), os.astype(terms.v.dtype)

    def one_step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """The same for one x: (the next carry, [B, H, V])."""
        terms, (S,) = self.terms(params, x), carry
        S, o = matrix_step(terms, S)
        return MatrixCarry(S), o.astype(terms.v.dtype)

    def _of(self, params: Params, name: str, x: Array) -> Array:
        """The linear map `name` of x, for each head: [.., H, n]."""
        return self.heads(linear(x, params[name], self.dtype))


def normalized(x: Array) -> Array:
    """x / |x| along the last axis; of the zero vector, which has no direction, itself."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(squared + jnp.asarray(1e-6, x.dtype))


def step_bias(key: Array, heads: int) -> Array:
    """[H], whose softplus is log-uniform from 0.001 to 0.1: Mamba's sizes of a step at the start."""
    low, high = math.log(1e-3), math.log(0.1)
    step = jnp.exp(jax.random.uniform(key, (heads,), jnp.float32, low, high))
    return step + jnp.log(-jnp.expm1(-step))


def step_decay(params: Params, a: Array) -> Array:
    """-exp(log_a) softplus(a), the logarithm of a decay; a [.., H, 1] has its bias already."""
    rate = jnp.exp(params["log_a"].astype(a.dtype))[:, None]
    return -jnp.broadcast_to(rate, a.shape) * jax.nn.softplus(a)
