"""The cross-layer convolution of the tensorized LSTM, and the geometry of its waves.

Source: He et al., "Wider and Deeper, Cheaper and Faster: Tensorized LSTMs for Sequence Learning",
NIPS 2017 (arXiv 1711.01577).

D is the number of tensor axes, P = (P_1..P_D) the tensor shape, K the kernel size along every axis,
and r = K // 2 the locations that one step carries information towards the output corner. Location p
reads locations p - r + k, for the taps k in {0..K-1}^D.
"""

import functools
import itertools
import math
import string
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tlstm_jax.devices import platforms
from tlstm_jax.devices.layout import is_partitioned
from tlstm_jax.devices.platforms import Choices
from tlstm_jax.typing import Array

FORWARDS = ("auto", "conv", "products")
GRADIENTS = ("auto", "products", "xla")


def depth(tensor_shape: tuple[int, ...], kernel_size: int) -> int:
    """L = max_d ceil(P_d / r): steps from the input corner to the output corner, both included."""
    r = kernel_size // 2
    return max(math.ceil(size / r) for size in tensor_shape)


def wave_index(tensor_shape: tuple[int, ...], kernel_size: int) -> np.ndarray:
    """u(p) = max_d floor(p_d / r): steps after x_t at which location p works on it; int32 [P..]."""
    r = kernel_size // 2
    return np.max(np.indices(tensor_shape) // r, axis=0).astype(np.int32)


def taps(tensor_shape: tuple[int, ...], kernel_size: int) -> np.ndarray:
    """Unclipped coordinates p - r + k that locations read: int64 [P.., K^D, D], k row-major."""
    D = len(tensor_shape)
    offsets = np.array(list(itertools.product(range(kernel_size), repeat=D))) - kernel_size // 2
    locations = np.moveaxis(np.indices(tensor_shape), 0, -1)  # [P.., D]
    return locations[..., None, :] + offsets


def sum_dtype(dtype: Any) -> Any:
    """The dtype in which numbers of `dtype` are summed: float32 or wider."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def concatenate_corner(hidden: Array, corner: Array) -> Array:
    """H^cat: the tensor with one more location in front on every axis, `corner` at the first.

    Args:
      hidden: H_{t-1} [B, P_1..P_D, M].
      corner: the projected input X'_t [B, M], of the same dtype.

    Returns:
      [B, P_1 + 1..P_D + 1, M], zero on the new faces except at their first corner.

    Raises:
      ValueError: the batch sizes or the channels differ.
    """
    D = hidden.ndim - 2
    if corner.shape != (hidden.shape[0], hidden.shape[-1]):
        raise ValueError(
            f"the projected input has shape {corner.shape}; accepted with a hidden tensor of shape "
            f"{hidden.shape} is {(hidden.shape[0], hidden.shape[-1])}"
        )
    padded = jnp.pad(hidden, ((0, 0), *((1, 0),) * D, (0, 0)))
    first = corner.reshape(corner.shape[0], *(1,) * D, corner.shape[-1])
    return lax.dynamic_update_slice(padded, first, (0,) * padded.ndim)


def cross_layer_convolution(
    hidden: Array, corner: Array, kernel: Array, *, by: str = "auto", gradient: str = "auto"
) -> Array:
    """A_t(p) = sum_k H^cat(p - r + k) W(k), without the bias.

    Reads outside the tensor are zero, except at the input corner. Sums are in float32 or wider. All
    forms have derivatives in forward and reverse mode, and of higher order.

    Args:
      hidden: H_{t-1} [B, P_1..P_D, M].
      corner: X'_t [B, M].
      kernel: W [K,..,K, M, Z], of the same dtype as both.
      by: "conv", one `lax.conv_general_dilated`; "products", one product with all that a location
        reads; "auto", the faster one on the platform (`platforms.Choices`).
      gradient: "products", "xla" (XLA's own gradient of a convolution), or "auto", the faster one
        on the platform. For a batch that is sharded over several devices it is "products": XLA
        would gather the operands of its own gradient.

    Returns:
      [B, P_1..P_D, Z] in the dtype of `hidden`.

    Raises:
      ValueError: an unknown `by` or `gradient`, or shapes that do not fit.
    """
    check_form(by, gradient)
    cat = concatenate_corner(hidden, corner)
    kernel, before = _within_reach(kernel, hidden.shape[1:-1])
    if is_partitioned():
        gradient = "products"
    if (by, gradient) == ("conv", "xla"):
        return _convolve(cat, kernel, before)
    return _correlate(cat, kernel, before, by, gradient)


def check_form(by: str, gradient: str) -> None:
    """Raises ValueError unless these are forms of the convolution and of its gradient."""
    if by not in FORWARDS:
        raise ValueError(f"convolution is {by!r}; accepted are {', '.join(FORWARDS)}")
    if gradient not in GRADIENTS:
        raise ValueError(
            f"convolution_gradient is {gradient!r}; accepted are {', '.join(GRADIENTS)}"
        )


def _within_reach(kernel: Array, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The kernel without taps outside H^cat for all locations, and the zeros in front of H^cat.

    XLA is slow with a kernel that is longer than what it runs over.
    """
    r = kernel.shape[0] // 2
    first = [max(0, r - size) for size in shape]
    near = tuple(slice(n, size + r) for n, size in zip(first, shape, strict=True))
    return kernel[near], tuple(r - 1 - n for n in first)


def _convolve(cat: Array, kernel: Array, before: tuple[int, ...]) -> Array:
    """[B, P + 1, M] with [K.., M, Z] to [B, P, Z]; P + 1 and K.. stand for D axes each."""
    spatial = string.ascii_lowercase[: len(before)]
    out = lax.conv_general_dilated(
        cat,
        kernel,
        window_strides=(1,) * len(before),
        padding=_margins(kernel, before),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        preferred_element_type=sum_dtype(cat.dtype),
    )
    return out.astype(cat.dtype)


def _margins(kernel: Array, before: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Zeros before and after H^cat, on every axis."""
    return tuple((n, K - 2 - n) for n, K in zip(before, kernel.shape, strict=False))


def _correlate(cat: Array, kernel: Array, before: tuple[int, ...], by: str, gradient: str) -> Array:
    """`_convolve`, with its own derivatives, and its own form under vmap."""
    settings = {"before": before, "by": by, "gradient": gradient, "mapped": ()}
    return _correlate_p.bind(cat, kernel, **settings)


# A primitive, since neither custom_jvp nor custom_vmap holds in second derivatives of a loop over
# time: partial evaluation replaces the one by its function, and cannot take the other apart.
_correlate_p = Primitive("cross_layer_convolution")


def _mapped(function: Callable[..., Array], mapped: tuple[tuple[bool, bool], ...]) -> Callable:
    """`function(cat, kernel)` under vmaps, outermost first, over the operands in `mapped`."""
    for operands in reversed(mapped):
        function = jax.vmap(function, tuple(0 if is_mapped else None for is_mapped in operands))
    return function


def _forward(
    cat: Array, kernel: Array, *, before: Any, by: str, gradient: str, mapped: Any
) -> Array:
    del gradient
    # With a kernel for each member, XLA's convolution is a grouped one, several times slower.
    by = "products" if any(of_kernel for _, of_kernel in mapped) else by
    return _mapped(functools.partial(_in_form, "forward", by, before), mapped)(cat, kernel)


def _jvp(primals: Any, tangents: Any, *, before: Any, by: str, gradient: str, mapped: Any) -> Any:
    form = "conv" if gradient == "xla" else gradient
    (cat, kernel), (dcat, dkernel) = primals, tangents
    settings = {"before": before, "by": by, "gradient": gradient, "mapped": mapped}
    out, dout = _correlate_p.bind(cat, kernel, **settings), []
    if not isinstance(dcat, ad.Zero):
        by_state = functools.partial(_in_form, "by state", form, before)
        dout.append(_mapped(by_state, mapped)(dcat, kernel))
    if not isinstance(dkernel, ad.Zero):
        # Checkpointed, so that cat alone is saved for the backward pass.
        by_kernel = jax.checkpoint(
            functools.partial(_in_form, "by kernel", form, before), prevent_cse=False
        )
        dout.append(_mapped(by_kernel, mapped)(cat, dkernel))
    return out, sum(dout[1:], dout[0])


def _vmap(operands: Any, axes: Any, *, mapped: Any, **settings: Any) -> tuple[Array, int]:
    is_mapped = tuple(axis is not None for axis in axes)
    operands = [
        jnp.moveaxis(x, axis, 0) if moved else x
        for x, axis, moved in zip(operands, axes, is_mapped, strict=True)
    ]
    return _correlate_p.bind(*operands, **settings, mapped=(is_mapped, *mapped)), 0


def _shape(cat: Any, kernel: Any, **settings: Any) -> Any:
    return jax.make_jaxpr(functools.partial(_forward, **settings))(cat, kernel).out_avals[0]


_correlate_p.def_impl(_forward)
_correlate_p.def_abstract_eval(_shape)
ad.primitive_jvps[_correlate_p] = _jvp
batching.primitive_batchers[_correlate_p] = _vmap
mlir.register_lowering(_correlate_p, mlir.lower_fun(_forward, multiple_results=False))


def _in_form(use: str, form: str, before: tuple[int, ...], cat: Array, kernel: Array) -> Array:
    """`_convolve` in one of its forms; use: "forward", or what it is differentiated "by"."""

    def convolve(choices: Choices, cat: Array, kernel: Array) -> Array:
        forward = choices.convolution[min(len(before), 2) - 1]
        auto = forward if use == "forward" else choices.convolution_gradient
        if (auto if form == "auto" else form) != "products":
            return _convolve(cat, kernel, before)
        return (_by_products if use == "by kernel" else _by_product)(choices, cat, kernel, before)

    if form == "conv":
        return _convolve(cat, kernel, before)
    return platforms.choose(convolve, cat, kernel)


def _by_product(choices: Choices, cat: Array, kernel: Array, before: tuple[int, ...]) -> Array:
    """`_convolve` as one product with all that a location reads, K^D M wide.

    Its transpose by cat is one product, too, whose K^D shifted parts are summed.
    """
    # Wide, so that the transpose sums the parts in float32.
    windows = _windows(cat.astype(sum_dtype(cat.dtype)), kernel, before)
    return _product(choices, jnp.concatenate(windows, axis=-1).astype(cat.dtype), kernel)


def _by_products(choices: Choices, cat: Array, kernel: Array, before: tuple[int, ...]) -> Array:
    """`_convolve` as products with what a location reads along the last axis, K M wide.

    Its transpose by kernel needs fewer copies of cat than that of `_by_product`.
    """
    *_, last = cat.shape[1:-1]
    *_, (front, back) = _margins(kernel, before)
    K = kernel.shape[len(before) - 1]
    padded = jnp.pad(cat, ((0, 0),) * len(before) + ((front, back), (0, 0)))
    read = jnp.concatenate([padded[..., k : k + last - 1, :] for k in range(K)], axis=-1)
    others = kernel.reshape(*kernel.shape[: len(before) - 1], -1, kernel.shape[-1])
    taps = itertools.product(*map(range, others.shape[:-2]))
    windows = _windows(read, others, before[:-1])
    products = [
        _product(choices, read, others[tap]) for read, tap in zip(windows, taps, strict=True)
    ]
    return sum(products[1:], products[0])


def _windows(cat: Array, kernel: Array, before: tuple[int, ...]) -> list[Array]:
    """What is read, [B, P.., ..], for each tap of the kernel's first len(before) axes."""
    margins = _margins(kernel, before)
    rest = ((0, 0),) * (cat.ndim - 1 - len(before))
    padded = jnp.pad(cat, ((0, 0), *margins, *rest))
    sizes = [n - 1 for n in cat.shape[1 : 1 + len(before)]]
    return [
        padded[(slice(None), *(slice(k, k + n) for k, n in zip(tap, sizes, strict=True)))]
        for tap in itertools.product(*map(range, kernel.shape[: len(before)]))
    ]


def _product(choices: Choices, read: Array, kernel: Array) -> Array:
    """[B, P.., K.. M] with [K.., M, Z] to [B, P.., Z].

    The transpose by `read` transposes the kernel. For few rows that is most of its work on a CPU;
    it is then written out, so that a loop can do it once, before it begins.
    """
    rows, kernel = read.reshape(-1, read.shape[-1]), kernel.reshape(-1, kernel.shape[-1])
    width = kernel.shape[-1]
    inner, outer = (-n % choices.multiple for n in kernel.shape)
    rows = jnp.pad(rows, ((0, 0), (0, inner)))
    kernel = jnp.pad(kernel, ((0, inner), (0, outer)))
    turned = platforms.is_at_most(rows.shape[0], choices.few_rows)
    out = lax.dot_general(
        rows,
        kernel.T if turned else kernel,
        (((1,), (1 if turned else 0,)), ((), ())),
        preferred_element_type=sum_dtype(read.dtype),
    )
    return out[:, :width].astype(read.dtype).reshape(*read.shape[:-1], width)
