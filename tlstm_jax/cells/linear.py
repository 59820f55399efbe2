"""Linear maps of vectors or integer tokens, which every cell needs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tlstm_jax.devices.layout import is_sharded
from tlstm_jax.typing import Array, Params


def is_integer(value: Any, least: int) -> bool:
    """Whether `value` is an integer, Python's or NumPy's, of at least `least`."""
    return isinstance(value, int | np.integer) and value >= least


def is_sizes(value: Any) -> bool:
    """Whether `value` is a tuple of one or more integers >= 1."""
    return isinstance(value, tuple) and bool(value) and all(is_integer(size, 1) for size in value)


def as_tuple(value: Any) -> Any:
    """A list as a tuple, which can be hashed; anything else as it is."""
    return tuple(value) if isinstance(value, list | np.ndarray) else value


def check_size(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an integer >= 1."""
    if not is_integer(value, 1):
        raise ValueError(f"{name} is {value}; accepted are integers >= 1")


def check_heads(num_heads: Any, features: int) -> None:
    """Raises ValueError unless `features` can be divided among so many heads."""
    check_size("num_heads", num_heads)
    if features % num_heads:
        raise ValueError(f"num_heads is {num_heads}; accepted are divisors of features, {features}")


def check_rate(name: str, value: Any) -> None:
    """Raises ValueError unless `value`, a probability of dropping, is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; accepted are rates in [0, 1)")


def check_epsilon(value: Any) -> None:
    """Raises ValueError unless `value`, what is added to variances, is a number > 0 in float32."""
    if not np.finfo(np.float32).tiny <= value < np.inf:
        raise ValueError(f"epsilon is {value}; accepted are numbers > 0, in float32")


def scaled_normal(
    key: Array, shape: tuple[int, ...], scale: Any, *, fan_in: int | None = None
) -> Array:
    """N(0, scale^2 / fan_in), float32; fan_in defaults to the product of all axes but the last."""
    fan_in = fan_in or math.prod(shape[:-1])
    return jax.random.normal(key, shape, jnp.float32) * jnp.asarray(
        scale / fan_in**0.5, jnp.float32
    )


def input_kernel(key: Array, shape: tuple[int, int], scale: Any) -> Array:
    """W^x [I, ..]: standard deviation `scale`, or variance scaling (1 / sqrt(I)) where it is None.

    Raises:
      ValueError: I is not an integer >= 1.
    """
    check_size("input_size", shape[0])
    return (
        scaled_normal(key, shape, 1.0)
        if scale is None
        else scaled_normal(key, shape, scale, fan_in=1)
    )


def recurrent_kernel(key: Array, features: int, *, gates: int, rows: int | None = None) -> Array:
    """U [M, gates M], float32: orthogonal for each gate; with `rows`, of so many in place of M."""

    @jax.custom_batching.sequential_vmap  # several batched QRs at once can deadlock on XLA's CPU
    def orthogonal(key: Array) -> Array:
        return jax.nn.initializers.orthogonal()(key, (rows or features, features), jnp.float32)

    return jnp.concatenate([orthogonal(k) for k in jax.random.split(key, gates)], axis=-1)


def add_bias(x: Array, bias: Array) -> Array:
    """x [.., M] + bias [M], the bias in x's dtype."""
    return x + jnp.broadcast_to(bias.astype(x.dtype), x.shape)


def times(x: Array, scale: Array) -> Array:
    """x [.., M] * scale [M], the scale in x's dtype."""
    return x * jnp.broadcast_to(scale.astype(x.dtype), x.shape)


def layer_norm(x: Array, params: Params, epsilon: float = 1e-5) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the last axis (biased variance).

    Args:
      x: [.., M].
      params: {"scale" [M], "bias" [M]}.
    """
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return add_bias(times(centred * lax.rsqrt(variance + epsilon), params["scale"]), params["bias"])


def init_norm(features: int, scale: float = 1.0) -> Params:
    """The parameters of a layer normalization: scales `scale`, biases 0."""
    return {
        "scale": jnp.full((features,), scale, jnp.float32),
        "bias": jnp.zeros((features,), jnp.float32),
    }


def widened(x: Array | None) -> Array | None:
    """Integers as int32, where -1 is -1 whatever their dtype was; anything else as it is.

    What int32 cannot hold becomes its largest number, or -2: no other token.
    """
    if x is None or x.dtype == jnp.int32 or not jnp.issubdtype(x.dtype, jnp.integer):
        return x
    own, wide = jnp.iinfo(x.dtype), jnp.iinfo(jnp.int32)
    if own.max > wide.max:
        x = x.clip(max(own.min, -2), wide.max)
    return x.astype(jnp.int32)


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
        x = widened(x)
        # Token -1 reads some row, so that no NaN arises on the way (jax_debug_nans).
        known = jnp.where(x == -1, jnp.zeros_like(x), x)
        rows = kernel.at[known].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        out = jnp.where((x == -1)[..., None], jnp.zeros_like(rows), rows)
    else:
        if x.shape[-1] != kernel.shape[0]:
            raise ValueError(
                f"x has {x.shape[-1]} features; accepted by the input kernel are {kernel.shape[0]}"
            )
        # As rows: with more axes, the kernel's gradient would need a transposed copy.
        rows = x.astype(dtype).reshape(-1, x.shape[-1]) if not is_sharded(x) else x.astype(dtype)
        out = (rows @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])
    return add_bias(out, params["bias"]) if "bias" in params else out


def zero_input(xs: Array) -> Array:
    """The zero input in the form of xs: zeros for vectors, -1 for tokens, which are `widened`."""
    fill = -1 if jnp.issubdtype(xs.dtype, jnp.integer) else 0
    return jnp.full_like(xs, fill)
