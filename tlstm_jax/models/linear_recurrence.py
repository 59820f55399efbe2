"""What models share whose state is linear in itself: h_t = f_t * h_{t-1} + u_t."""

import abc
from typing import Any

import jax.numpy as jnp

from tlstm_jax.cells.gru import GRUCarry
from tlstm_jax.cells.linear import linear, widened
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.base import DelayFreeModel
from tlstm_jax.recurrence.linear_scan import linear_recurrence
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, Params, State


class GatedLinearRecurrence(DelayFreeModel, abc.ABC):
    """One layer, y_t = h_t, whose gates depend on x_t alone: an associative scan over time.

    It runs in the dtype of the carry, whatever that of the products with the weights is.
    """

    features: int
    dtype: Any

    @abc.abstractmethod
    def gates(self, a: Array) -> tuple[Array, Array]:
        """f_t and u_t [.., M] from the sums x_t W + b [.., n M]."""

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> GRUCarry:
        del params
        return GRUCarry(jnp.zeros((batch_size, self.features), dtype))

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: GRUCarry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[GRUCarry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M]."""
        del flush, key, train
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        a = linear(zero_beyond(xs, lengths), params["input"], self.dtype)
        f, u = self.gates(a.astype(carry.hidden.dtype))
        h, hs = linear_recurrence(f, u, carry.hidden, lengths, reset)
        ys = hs.astype(a.dtype)
        if lengths is not None:
            ys = select(sequence_mask(xs, lengths), ys, jnp.zeros_like(ys))
        return GRUCarry(h), ys, state, {}

    def token_step(
        self, params: Params, state: State, carry: GRUCarry, x: Array
    ) -> tuple[GRUCarry, Array]:
        del state
        a = linear(x, params["input"], self.dtype)
        f, u = self.gates(a.astype(carry.hidden.dtype))
        h = f * carry.hidden + u
        return GRUCarry(h), h.astype(a.dtype)
