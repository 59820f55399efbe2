"""Networks with a unitary recurrent matrix: gradients neither vanish nor explode.

Arjovsky, Shah and Bengio, "Unitary Evolution Recurrent Neural Networks", ICML 2016 (uRNN); Wisdom,
Powers, Hershey, Le Roux and Atlas, "Full-Capacity Unitary Recurrent Neural Networks", NIPS 2016.

    h_t = modReLU(h_{t-1} T + x_t V)    h complex, y_t = [Re h_t, Im h_t]
    modReLU(z) = max(|z| + b, 0) z / |z|
    T = D1 F R1 P D2 F^-1 R2 D3         uRNN, from the left: D = diag(e^iw), R = I - 2 v^H v/|v|^2,
                                        v a row (I where it is 0), P a fixed permutation, F the
                                        unitary Fourier transform
    T = W                               full capacity: any unitary matrix

Complex numbers are kept as their real and imaginary parts, so that every parameter, carry and
gradient is real: the gradient with respect to (Re W, Im W) is the direction of steepest ascent, the
conjugate of jax.grad's with respect to W.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.cells.base import DelayFree, SplitStep
from tlstm_jax.cells.linear import check_size, is_integer, linear, scaled_normal
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.overrides import plain
from tlstm_jax.typing import Array, InputShape, Params


class UnitaryCarry(NamedTuple):
    hidden: Array  # [Re h, Im h] [B, 2M]


@dataclasses.dataclass(frozen=True)
class UnitaryRNN(SplitStep, DelayFree):
    """The uRNN, whose T has 7M parameters and costs O(M log M).

    Parameters: {"input": {"kernel" [I, 2M]}: [Re V, Im V], "phases": {"kernel" [3, M]}: w of D1,
    D2, D3, "reflections": {"kernel" [2, 2, M]}: real and imaginary part of v for R1 and R2,
    "modrelu": {"bias" [M]}}. h_0 is learned in the paper: `tlstm_jax.models.learned_carry`. Not in
    bfloat16, which has no complex numbers.

    Attributes:
      features: 2M, the width of y.
      permutation_seed: fixes P, the permutation of the state.
      input_scale: initial standard deviation of V's parts; None is Glorot's, as in the paper.
      dtype: the dtype of the computation: None (the parameters' dtype), float32 or float64.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import UnitaryRNN
      >>> cell = UnitaryRNN(8)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["phases"]["kernel"].shape
      ((2, 8), (3, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    permutation_seed: int = 0
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        _check(self)
        if not is_integer(self.permutation_seed, 0):
            raise ValueError(
                f"permutation_seed is {self.permutation_seed}; accepted are integers >= 0"
            )

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M = self.features // 2
        w, phases, reflections = jax.random.split(key, 3)

        def uniform(key: Array, shape: tuple[int, ...], limit: float) -> Array:
            return jax.random.uniform(key, shape, jnp.float32, -limit, limit)

        return {
            "input": {"kernel": _input_kernel(w, I, M, self.input_scale)},
            "phases": {"kernel": uniform(phases, (3, M), np.pi)},
            "reflections": {"kernel": uniform(reflections, (2, 2, M), 1.0)},
            "modrelu": {"bias": jnp.zeros((M,), jnp.float32)},
        }

    @property
    def carry_scale(self) -> float:
        """A learned h_0 is initialized uniformly in plus, minus this; |h_0| is 1 on average."""
        return (3 / self.features) ** 0.5

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> UnitaryCarry:
        return _zero_carry(self, batch_size, dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x V: [.., 2M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: UnitaryCarry, z: Array) -> Array:
        """z + h T: [B, 2M]."""
        h = _complex(carry.hidden.astype(z.dtype))
        for transform in self._factors(params, z.dtype):
            h = transform(h)
        return z + jnp.concatenate([h.real, h.imag], axis=-1)

    def _factors(self, params: Params, dtype: Any) -> list:
        M = self.features // 2
        w, v = (params[name]["kernel"].astype(dtype) for name in ("phases", "reflections"))
        order = np.random.default_rng(self.permutation_seed).permutation(M)

        def rotate(n: int, h: Array) -> Array:
            return h * jax.lax.complex(jnp.cos(w[n]), jnp.sin(w[n]))[None]

        def reflect(n: int, h: Array) -> Array:
            u = jax.lax.complex(v[n, 0], v[n, 1])[None]
            norm = jnp.sum(jnp.square(v[n]))
            norm = jnp.where(norm < jnp.finfo(dtype).tiny, jnp.ones_like(norm), norm)  # v = 0: I
            along = jnp.sum(jnp.conj(u) * h, axis=-1, keepdims=True)
            return h - along * u * (2 / norm).astype(h.dtype)

        return [
            lambda h: rotate(0, h),
            lambda h: jnp.fft.fft(h, norm="ortho"),
            lambda h: reflect(0, h),
            lambda h: h[:, order],
            lambda h: rotate(1, h),
            lambda h: jnp.fft.ifft(h, norm="ortho"),
            lambda h: reflect(1, h),
            lambda h: rotate(2, h),
        ]

    def update(self, params: Params, carry: UnitaryCarry, a: Array) -> tuple[UnitaryCarry, Array]:
        """h_t = modReLU(a)."""
        return _mod_relu(params, carry, a)


@dataclasses.dataclass(frozen=True)
class FullCapacityURNN(SplitStep, DelayFree):
    """The full-capacity uRNN. W stays unitary only under `tlstm_jax.training`'s Cayley step.

    Parameters: {"input": {"kernel" [I, 2M]}: [Re V, Im V], "unitary": {"real", "imag" [M, M]},
    "modrelu": {"bias" [M]}}; W starts as the T of a `UnitaryRNN`.

    Attributes:
      features: 2M, the width of y.
      input_scale: initial standard deviation of V's parts; None is Glorot's, as in the paper.
      dtype: the dtype of the computation: None (the parameters' dtype), float32 or float64.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import FullCapacityURNN
      >>> cell = FullCapacityURNN(8)
      >>> params = cell.init(jax.random.key(0), input_shape=3)
      >>> carry, y = cell.step(params, cell.init_carry(batch_size=2), jnp.ones((2, 3)))
      >>> y.shape, params["unitary"]["real"].shape
      ((2, 8), (4, 4))
    """

    features: int
    _: dataclasses.KW_ONLY
    input_scale: float | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        _check(self)

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        M, start = self.features // 2, UnitaryRNN(self.features, input_scale=self.input_scale)
        params = start.init(key, I)
        rows = jnp.eye(M, 2 * M, dtype=jnp.float32)  # the unit vectors, without imaginary part
        real, imag = jnp.split(
            start.mix(params, UnitaryCarry(rows), jnp.zeros_like(rows)), 2, axis=-1
        )
        return {
            "input": params["input"],
            "unitary": {"real": real, "imag": imag},
            "modrelu": params["modrelu"],
        }

    @property
    def carry_scale(self) -> float:
        """A learned h_0 is initialized uniformly in plus, minus this; |h_0| is 1 on average."""
        return (3 / self.features) ** 0.5

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> UnitaryCarry:
        return _zero_carry(self, batch_size, dtype)

    def project(self, params: Params, x: Array) -> Array:
        """x V: [.., 2M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: UnitaryCarry, z: Array) -> Array:
        """z + h W: [B, 2M]."""
        re, im = params["unitary"]["real"], params["unitary"]["imag"]
        kernel = jnp.block([[re, im], [-im, re]])
        return z + linear(carry.hidden, {"kernel": kernel}, z.dtype)

    def update(self, params: Params, carry: UnitaryCarry, a: Array) -> tuple[UnitaryCarry, Array]:
        """h_t = modReLU(a)."""
        return _mod_relu(params, carry, a)


def _check(cell: UnitaryRNN | FullCapacityURNN) -> None:
    name = type(cell).__name__
    check_size("features", cell.features)
    if cell.features % 2:
        raise ValueError(f"features of a {name} is {cell.features}; accepted are even integers")
    if cell.dtype is not None and jnp.dtype(cell.dtype) not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"dtype of a {name} is {jnp.dtype(cell.dtype).name}; accepted are None, float32, "
            "float64, since its state is complex"
        )


def _input_kernel(key: Array, input_size: int, M: int, scale: Any) -> Array:
    check_size("input_size", input_size)
    scale = (2 / (input_size + 2 * M)) ** 0.5 if scale is None else scale
    return scaled_normal(key, (input_size, 2 * M), scale, fan_in=1)


def _zero_carry(cell: Any, batch_size: int, dtype: Any) -> UnitaryCarry:
    return UnitaryCarry(jnp.zeros((batch_size, cell.features), cell.dtype or dtype))


def _complex(parts: Array) -> Array:
    """[.., 2M] to complex [.., M]."""
    return jax.lax.complex(*jnp.split(parts, 2, axis=-1))


def _mod_relu(params: Params, carry: UnitaryCarry, a: Array) -> tuple[UnitaryCarry, Array]:
    re, im = jnp.split(a, 2, axis=-1)
    square = re**2 + im**2
    zero = square == 0  # where |z| has no derivative
    modulus = jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    grown = jax.nn.relu(
        modulus + jnp.broadcast_to(params["modrelu"]["bias"].astype(a.dtype), re.shape)
    )
    scale = jnp.where(zero, jnp.zeros_like(square), grown / modulus)
    h = jnp.concatenate([re * scale, im * scale], axis=-1).astype(carry.hidden.dtype)
    return UnitaryCarry(h), h
