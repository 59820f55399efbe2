"""Matrices as tensor trains.

Novikov, Podoprikhin, Osokin and Vetrov, "Tensorizing Neural Networks", NIPS 2015.

    W[i, j] = G_1[i_1, j_1] G_2[i_2, j_2] .. G_d[i_d, j_d]

Row i of I = I_1 .. I_d is written (i_1, .., i_d), the last the fastest, and column j of J likewise;
G_k[i_k, j_k] is a matrix [r_{k-1}, r_k], with r_0 = r_d = 1. A train is a dict of cores, {"core_0":
{"kernel" [r_0, I_1, J_1, r_1]}, "core_1": ..}; other entries, a bias say, are not read.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, recurrent_kernel, scaled_normal, widened
from tlstm_jax.typing import Array, Params


def balanced(size: int, number: int) -> tuple[int, ...]:
    """`number` factors of `size`, about as large as each other, ascending: 100 in 3 is (4, 5, 5)."""
    if number == 1:
        return (size,)
    small = itertools.takewhile(lambda n: n**number <= size, itertools.count(1))
    first = max(n for n in small if size % n == 0)
    return tuple(sorted((first, *balanced(size // first, number - 1))))


def init_normal(
    key: Array, rows: tuple[int, ...], columns: tuple[int, ...], rank: int, scale: Any
) -> Params:
    """Cores whose matrix has entries of mean 0 and standard deviation `scale` (None: 1 / sqrt(I)).

    Each entry is a sum of r_1 .. r_{d-1} products of d normal numbers, one of each core.
    """
    check_size("input_size", math.prod(rows))
    d, paths = len(rows), rank ** (len(rows) - 1)
    scale = math.prod(rows) ** -0.5 if scale is None else scale
    each = jnp.abs(jnp.asarray(scale / paths**0.5, jnp.float32)) ** (1 / d)
    keys = jax.random.split(key, d)
    shapes = _shapes(rows, columns, rank)
    cores = [scaled_normal(k, shape, each, fan_in=1) for k, shape in zip(keys, shapes, strict=True)]
    return _named(cores)


def init_orthogonal(key: Array, sizes: tuple[int, ...], gates: int, rank: int) -> Params:
    """Cores whose matrix [M, gates M] has entries of variance 1 / M; of rank 1, orthogonal gates.

    Each gate's matrix is the sum of R = r_1 .. r_{d-1} Kronecker products of orthogonal matrices,
    divided by sqrt(R). The gates are in the first core.
    """
    cores = []
    keys, shapes = jax.random.split(key, len(sizes)), _shapes(sizes, sizes, rank)
    for n, (k, (before, size, _, after)) in enumerate(zip(keys, shapes, strict=True)):
        blocks = (before, after, 1 if n else gates)
        one_by_one = jax.random.split(k, math.prod(blocks))
        drawn = jax.lax.map(lambda k, size=size: recurrent_kernel(k, size, gates=1), one_by_one)
        core = jnp.moveaxis(drawn.reshape(*blocks, size, size), (1, 2), (4, 2))
        cores.append(core.reshape(before, size, -1, after) * jnp.float32(after**-0.5))
    return _named(cores)


def multiply(x: Array, train: Params, dtype: Any) -> Array:
    """x W in `dtype` (None: the cores'), core by core: W itself is never made.

    The cores are taken in the order, from the first or from the last, that multiplies less. Tokens
    are one-hot vectors, as in `linear`: a product of slices of cores, without the vector.

    Args:
      x: floats [.., I], or integer tokens [..].

    Returns:
      [.., J].

    Raises:
      ValueError: x has another number of features.
    """
    cores = [core.astype(dtype or core.dtype) for core in _cores(train)]
    if jnp.issubdtype(x.dtype, jnp.integer):
        return _row(x, cores)
    size = math.prod(core.shape[1] for core in cores)
    if x.shape[-1] != size:
        raise ValueError(
            f"x has {x.shape[-1]} features; accepted by the input kernel are {size}, the product "
            f"of the rows {tuple(core.shape[1] for core in cores)} of its cores"
        )
    x, batch = x.astype(cores[0].dtype), x.shape[:-1]
    left, right = 1, 1
    if _cost(cores) <= _cost([core.transpose(3, 1, 2, 0) for core in cores[::-1]]):
        for core in cores:  # [.., j_1 .. j_{k-1}, r_{k-1}, i_k, i_{k+1} .. i_d]
            before, rows, columns, _ = core.shape
            x = x.reshape(*batch, left, before, rows, -1)
            x = jnp.einsum("...laib,aijc->...ljcb", x, core)
            left *= columns
    else:
        for core in cores[::-1]:  # [.., i_1 .. i_{k-1}, i_k, r_k, j_{k+1} .. j_d]
            _, rows, columns, after = core.shape
            x = x.reshape(*batch, -1, rows, after, right)
            x = jnp.einsum("...bicr,aijc->...bajr", x, core)
            right *= columns
    return x.reshape(*batch, -1)


def dense(train: Params) -> Array:
    """The matrix W [I, J] of a train."""
    return multiply(jnp.eye(math.prod(core.shape[1] for core in _cores(train))), train, None)


def sizes(train: Params) -> tuple[int, int]:
    """How many numbers the cores of a train have (shapes suffice), and how many its matrix."""
    cores = _cores(train)
    I, J = (math.prod(core.shape[axis] for core in cores) for axis in (1, 2))
    return sum(math.prod(core.shape) for core in cores), I * J


def trains(tree: Any) -> list[Params]:
    """The trains within a tree of parameters."""
    if not isinstance(tree, dict):
        return []
    if "core_0" in tree:
        return [tree]
    return [train for branch in tree.values() for train in trains(branch)]


def _cores(train: Params) -> list[Array]:
    number = sum(name.startswith("core_") for name in train)
    return [train[f"core_{n}"]["kernel"] for n in range(number)]


def _named(cores: list[Array]) -> Params:
    return {f"core_{n}": {"kernel": core} for n, core in enumerate(cores)}


def _shapes(
    rows: tuple[int, ...], columns: tuple[int, ...], rank: int
) -> list[tuple[int, int, int, int]]:
    ranks = (1, *[rank] * (len(rows) - 1), 1)
    return list(zip(ranks[:-1], rows, columns, ranks[1:], strict=True))


def _cost(cores: list[Array]) -> int:
    """Multiplications of a vector with the cores, the first one first."""
    total, left, right = 0, 1, math.prod(core.shape[1] for core in cores)
    for before, rows, columns, after in (core.shape for core in cores):
        total += left * before * right * columns * after
        left, right = left * columns, right // rows
    return total


def _row(token: Array, cores: list[Array]) -> Array:
    """A row of W; zeros for token -1, NaN for one outside [-1, I)."""
    token = widened(token)
    I = math.prod(core.shape[1] for core in cores)
    known = (token >= 0) & (token < I)
    at = jnp.where(known, token, jnp.zeros_like(token))
    place, row = I, jnp.ones((*token.shape, 1, 1), cores[0].dtype)
    for core in cores:
        place //= core.shape[1]
        slices = jnp.moveaxis(core, 1, 0)[at // place % core.shape[1]]  # [.., r_{k-1}, J_k, r_k]
        row = jnp.einsum("...la,...ajc->...ljc", row, slices)
        row = row.reshape(*token.shape, -1, core.shape[3])
    row = row[..., 0]
    other = jnp.where(token == -1, jnp.zeros((), row.dtype), jnp.full((), jnp.nan, row.dtype))
    return jnp.where(known[..., None], row, other[..., None])
