"""What the tensorized cells share: sizes, initialization, and a step except its gates."""

from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import (
    add_bias,
    check_size,
    input_kernel,
    is_integer,
    is_sizes,
    scaled_normal,
)
from tlstm_jax.cells.tensorized import convolution
from tlstm_jax.typing import Array, Params


def check_settings(s: Any) -> None:
    """Raises ValueError unless the settings `s` of a cell make a tensor."""
    tensor_shape, kernel_size = s.tensor_shape, s.kernel_size
    if not is_sizes(tensor_shape):
        raise ValueError(f"tensor_shape is {tensor_shape}; accepted are one or more sizes >= 1")
    if not is_integer(kernel_size, 2):
        raise ValueError(
            f"kernel_size is {kernel_size}; accepted are integers >= 2 "
            "(a kernel of 1 would carry nothing from the input to the output corner)"
        )
    check_size("features", s.features)
    convolution.check_form(s.convolution, s.convolution_gradient)


def init_params(s: Any, key: Array, input_size: int, gates: int) -> dict[str, dict[str, Array]]:
    """{"input": .., "cross_layer": ..} for a cell of settings `s` with Z = `gates`."""
    M, K, D = s.features, s.kernel_size, len(s.tensor_shape)
    input_key, bias_key, kernel_key = jax.random.split(key, 3)
    return {
        "input": {
            "kernel": input_kernel(input_key, (input_size, M), s.input_scale),
            "bias": scaled_normal(bias_key, (M,), s.input_bias_scale, fan_in=1),
        },
        "cross_layer": {
            "kernel": scaled_normal(kernel_key, (*(K,) * D, M, gates), s.kernel_scale),
            "bias": jnp.zeros((gates,), jnp.float32),
        },
    }


def mix(cell: Any, cross_layer: Params, hidden: Array, z: Array) -> Array:
    """A_t [B, P.., Z] from H_{t-1} [B, P.., M] and X'_t [B, M], in the dtype of the latter."""
    kernel = cross_layer["kernel"].astype(z.dtype)
    a = convolution.cross_layer_convolution(
        hidden.astype(z.dtype),
        z,
        kernel,
        by=cell.convolution,
        gradient=cell.convolution_gradient,
    )
    return add_bias(a, cross_layer["bias"])


def awake(cell: Any, age: Array) -> Array:
    """[B, P_1..P_D, 1] bool: the locations that the wave of the first input has reached."""
    u = convolution.wave_index(cell.tensor_shape, cell.kernel_size)[None, ..., None]
    age = age.reshape(-1, *(1,) * (u.ndim - 1))
    shape = (age.shape[0], *u.shape[1:])
    return jnp.broadcast_to(age, shape) >= jnp.broadcast_to(u, shape)


def output_corner(hidden: Array) -> Array:
    """H(P - 1): [B, M]."""
    return hidden[(slice(None), *(-1,) * (hidden.ndim - 2))]
