"""Convolutions of maps [.., ..spatial.., C], with zeros around them: as large as their input."""

import jax.numpy as jnp

from tlstm_jax.cells.linear import add_bias, is_integer
from tlstm_jax.cells.tensorized.convolution import cross_layer_convolution, sum_dtype
from tlstm_jax.typing import Array


def check_kernel_size(value: int, name: str = "kernel_size") -> None:
    """Raises ValueError unless `value` is an odd integer >= 1, so that a kernel has a centre."""
    if not is_integer(value, 1) or value % 2 == 0:
        raise ValueError(f"{name} is {value}; accepted are odd integers >= 1")


def convolve(x: Array, kernel: Array, *, dilation: int = 1, bias: Array | None = None) -> Array:
    """sum_k x(p + d (k - K // 2)) W(k) + b: a convolution whose output is as large as its input.

    Reads outside the map are zero. Sums are in float32 or wider. It has derivatives of any order.

    Args:
      x: [.., S_1..S_D, C] with at least one leading axis; D >= 0.
      kernel: W [K,..,K, C, Z], D axes of an odd size K, of x's dtype.
      dilation: d >= 1, the distance of two locations that are read.
      bias: [Z] or None.

    Returns:
      [.., S_1..S_D, Z] in the dtype of x.
    """
    D = kernel.ndim - 2
    leading, spatial = x.shape[: x.ndim - 1 - D], x.shape[x.ndim - 1 - D : -1]
    rows = x.reshape(-1, *spatial, x.shape[-1])
    if D == 0 or kernel.shape[0] == 1:
        out = jnp.dot(
            rows, kernel.reshape(kernel.shape[-2:]), preferred_element_type=sum_dtype(x.dtype)
        )
        out = out.astype(x.dtype)
    else:
        apart = _apart(rows, dilation)
        # Without anything in its input corner, the cross-layer convolution is this one.
        corner = jnp.zeros((apart.shape[0], apart.shape[-1]), apart.dtype)
        out = _together(cross_layer_convolution(apart, corner, kernel), dilation, spatial)
    out = out.reshape(*leading, *spatial, kernel.shape[-1])
    return out if bias is None else add_bias(out, bias)


def _apart(x: Array, d: int) -> Array:
    """Every d-th location as a map of its own: [B, S.., C] to [B d^D, ceil(S / d).., C]."""
    if d == 1:
        return x
    spatial = x.shape[1:-1]
    D = len(spatial)
    x = jnp.pad(x, ((0, 0), *((0, -size % d) for size in spatial), (0, 0)))
    split = [n for size in x.shape[1:-1] for n in (size // d, d)]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    coarse, fine = range(1, 2 * D + 1, 2), range(2, 2 * D + 2, 2)
    x = x.transpose(0, *fine, *coarse, 2 * D + 1)
    return x.reshape(-1, *x.shape[1 + D :])


def _together(x: Array, d: int, spatial: tuple[int, ...]) -> Array:
    """The inverse of `_apart`, for maps of these sizes."""
    if d == 1:
        return x
    D, coarse = len(spatial), x.shape[1:-1]
    x = x.reshape(-1, *(d,) * D, *coarse, x.shape[-1])
    order = [axis for n in range(D) for axis in (1 + D + n, 1 + n)]
    x = x.transpose(0, *order, 2 * D + 1)
    x = x.reshape(x.shape[0], *(d * size for size in coarse), x.shape[-1])
    return x[(slice(None), *(slice(size) for size in spatial))]
