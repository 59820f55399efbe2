"""Linear maps of inputs that are vectors or integer tokens, as every cell needs them."""

import dataclasses
import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from tlstm_jax.typing import Array, Hyper, Params

T = TypeVar("T")


def with_hyper(settings: T, hyper: Hyper | None) -> T:
    """`settings` (a dataclass) with the fields that `hyper` names replaced by its traced floats."""
    names = {field.name for field in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{k: v for k, v in (hyper or {}).items() if k in names})


def scaled_normal(
    key: Array, shape: tuple[int, ...], scale: Any, *, fan_in: int | None = None
) -> Array:
    """N(0, scale^2 / fan_in), float32; fan_in defaults to the product of all axes but the last."""
    fan_in = fan_in or math.prod(shape[:-1])
    return jax.random.normal(key, shape, jnp.float32) * jnp.asarray(
        scale / fan_in**0.5, jnp.float32
    )


def input_kernel(key: Array, shape: tuple[int, int], scale: Any) -> Array:
    """W^x [I, ..]: standard deviation `scale`, or variance scaling (1 / sqrt(I)) where it is None."""
    return (
        scaled_normal(key, shape, 1.0)
        if scale is None
        else scaled_normal(key, shape, scale, fan_in=1)
    )


def recurrent_kernel(key: Array, features: int, *, gates: int) -> Array:
    """U [M, gates M], float32: orthogonal for each gate."""
    init = jax.nn.initializers.orthogonal()
    keys = jax.random.split(key, gates)
    return jnp.concatenate([init(k, (features, features), jnp.float32) for k in keys], axis=-1)


def add_bias(x: Array, bias: Array) -> Array:
    """x [.., M] + bias [M], the bias in x's dtype."""
    return x + jnp.broadcast_to(bias.astype(x.dtype), x.shape)


def linear(x: Array, params: Params, dtype: Any) -> Array:
    """x W + b in `dtype` (None: the kernel's); x float [.., I], or integer tokens [..].

    A token is a one-hot vector, so that its product is a row of W; token -1 is the zero vector. A
    token outside [-1, I) gives NaN rather than another token's row.

    Args:
      params: {"kernel": [I, Z]} and perhaps "bias" [Z].

    Returns:
      [.., Z].
    """
    kernel = params["kernel"]
    dtype = dtype or kernel.dtype
    kernel = kernel.astype(dtype)
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = x.astype(jnp.int32)
        rows = kernel.at[x].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        out = jnp.where((x == -1)[..., None], jnp.zeros_like(rows), rows)
    else:
        if x.shape[-1] != kernel.shape[0]:
            raise ValueError(
                f"x has {x.shape[-1]} features, the input kernel takes {kernel.shape[0]}"
            )
        out = x.astype(dtype) @ kernel
    return add_bias(out, params["bias"]) if "bias" in params else out


def zero_input(xs: Array) -> Array:
    """The zero input of the kind of xs: zeros for vectors, token -1 for tokens."""
    fill = -1 if jnp.issubdtype(xs.dtype, jnp.integer) else 0
    return jnp.full_like(xs, fill)
