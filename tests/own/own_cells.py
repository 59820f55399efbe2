"""A cell as a user of the library has it, in a module of their own; and what cannot be one."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Optional

import jax
import jax.numpy as jnp


class State(NamedTuple):
    hidden: jax.Array


@dataclasses.dataclass(frozen=True)
class MGU:
    """A minimal gated unit (Zhou et al., 2016), nearly.

    Attributes:
      features: M.
      opening_bias: what the gate's bias is
        at the start.
      leak: how much of the state is kept, whatever the gate says.
      taps: they have no effect.
    """

    features: int
    opening_bias: float = 1.0
    leak: Optional[float] = None  # noqa: UP045
    taps: tuple[int, ...] = (1, 2)
    offset: int = -1
    noisy: bool = False
    kind: str = "plain"
    dtype: Any = None

    delay = 0
    causal = True

    def init(self, key, input_size, *, hyper=None):
        del hyper
        w, u = jax.random.split(key)
        M = self.features
        bias = jnp.concatenate([jnp.full(M, self.opening_bias), jnp.zeros(M)])
        return {
            "input": {"kernel": jax.random.normal(w, (input_size, 2 * M))},
            "recurrent": {"kernel": jax.random.normal(u, (M, 2 * M)), "bias": bias},
        }

    def init_carry(self, batch_size, dtype=jnp.float32):
        return State(jnp.zeros((batch_size, self.features), self.dtype or dtype))

    def step(self, params, carry, x):
        params = jax.tree.map(lambda p: p.astype(self.dtype or p.dtype), params)
        h, W = carry.hidden, params["input"]["kernel"]
        x = jax.nn.one_hot(x, len(W), dtype=W.dtype) if x.ndim == 1 else x.astype(W.dtype)
        bias = jnp.broadcast_to(params["recurrent"]["bias"], (len(x), 2 * self.features))
        f, g = jnp.split(x @ W + h @ params["recurrent"]["kernel"] + bias, 2, axis=-1)
        f = jax.nn.sigmoid(f)
        h = f * h + (1 - f) * jnp.tanh(g) + (self.leak or 0.0) * h
        return State(h), h

    init_token_carry, token_step = init_carry, step


@dataclasses.dataclass(frozen=True)
class CalledAsAProgramsFlag(MGU):
    preset: int = 3


@dataclasses.dataclass(frozen=True)
class OfAnotherType(MGU):
    reset: int = 3


@dataclasses.dataclass(frozen=True)
class OfNoSetting(MGU):
    inner: dict[str, int] | None = None


@dataclasses.dataclass(frozen=True)
class WithAnotherDefault(MGU):
    depth: int = "3"  # not an int


@dataclasses.dataclass
class NotFrozen:
    depth: int = 3


class NoDataclass:
    pass


def unannotated(features: int, x=3):
    return MGU(features)


def unknown_annotation(x: Nowhere = 3):  # noqa: F821
    return x


def without_default(features: int, depth: int):
    return MGU(features)


def anything(**settings: int):
    return settings


def integer(x: int = 3):
    return x


def two_layers(opening_bias: float = 2.0, *, features: int = 5):
    from tlstm_jax import Stacked

    return Stacked(MGU(features, opening_bias), 2)


number = 3
