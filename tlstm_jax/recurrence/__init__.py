"""A cell over time: the loop, its gradients, and what replaces it on some devices."""

from tlstm_jax.recurrence.parallel import unroll_parallel
from tlstm_jax.recurrence.unrolling import unroll, unroll_reference

__all__ = ["unroll", "unroll_parallel", "unroll_reference"]
