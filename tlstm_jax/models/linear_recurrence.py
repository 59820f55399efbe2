"""What models share whose state is linear in itself: h_t = f_t * h_{t-1} + u_t."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp

from tlstm_jax.cells.gru import GRUCarry
from tlstm_jax.cells.linear import check_size, linear
from tlstm_jax.models.base import AllStepsModel
from tlstm_jax.overrides import plain
from tlstm_jax.recurrence.linear_scan import complex_times, linear_recurrence
from tlstm_jax.typing import Array, Carry, Params, State


class LinearRecurrence(AllStepsModel):
    """One layer whose f_t and u_t depend on x_t alone: an associative scan over time.

    The scan runs in the dtype of the carry, whatever that of the products with the weights is.
    """

    pairs: ClassVar[bool] = False  # whether f, u and h are complex numbers, [Re, Im]

    @property
    @abc.abstractmethod
    def state_size(self) -> int:
        """The width of h."""

    @abc.abstractmethod
    def coefficients(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array, Any]:
        """f_t and u_t [.., state_size] in `dtype`, and what `output` needs of x [.., I] or [..]."""

    @abc.abstractmethod
    def output(self, params: Params, h: Array, a: Any) -> Array:
        """y_t [.., M] from h_t [.., state_size] and what the coefficients came with."""

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        del params
        return GRUCarry(jnp.zeros((batch_size, self.state_size), dtype))

    def run(
        self, params: Params, carry: Carry, xs: Array, lengths: Array | None, reset: Array | None
    ) -> tuple[Carry, Array]:
        (h,) = carry
        f, u, a = self.coefficients(params, xs, h.dtype)
        f = jnp.broadcast_to(f, u.shape)
        h, hs = linear_recurrence(f, u, h, lengths, reset, pairs=self.pairs)
        return GRUCarry(h), self.output(params, hs, a)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        del state
        (h,) = carry
        f, u, a = self.coefficients(params, x, h.dtype)
        f = jnp.broadcast_to(f, u.shape)
        h = (complex_times(f, h) if self.pairs else f * h) + u
        return GRUCarry(h), self.output(params, h, a)


class GatedLinearRecurrence(LinearRecurrence):
    """y_t = h_t, with gates of sums x_t W + b."""

    features: int
    dtype: Any

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)

    @property
    def state_size(self) -> int:
        return self.features

    @abc.abstractmethod
    def gates(self, a: Array) -> tuple[Array, Array]:
        """f_t and u_t [.., M] from the sums [.., n M]."""

    def coefficients(self, params: Params, x: Array, dtype: Any) -> tuple[Array, Array, Array]:
        a = linear(x, params["input"], self.dtype)
        return *self.gates(a.astype(dtype)), a

    def output(self, params: Params, h: Array, a: Array) -> Array:
        del params
        return h.astype(a.dtype)
