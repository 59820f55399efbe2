"""Weights in a file: an .npz of float arrays, which executes nothing when it is read.

An archive that `write_weights` made is a .zip of .npy files stored without compression, each named
by its place in the tree of parameters ("model/input/kernel.npy"); `numpy.load` reads it, too. The
reader knows the network, and thus every name, shape and dtype: any other file is refused, a longer
one before it is read at all, so that none can be a decompression bomb.
"""

import io
import math
import pathlib
import zipfile
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.typing import Array, Params

_AROUND = 1024  # bytes of headers for each array: those of .npy, and two of .zip
_ACCEPTED = "accepted are weights of this network, as write_weights writes them"


def write_weights(path: pathlib.Path, params: Params) -> None:
    """Writes parameters to `path`; equal parameters make equal files.

    Args:
      params: a pytree of arrays, float32 as `Network.init` makes them.

    Raises:
      ValueError: a weight is not finite.
    """
    for name, array in _named(params).items():
        _check_finite(name, np.asarray(array))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in _named(params).items():
            content = io.BytesIO()
            array = np.ascontiguousarray(array)
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name), content.getvalue())  # without a date


def read_weights(path: str | pathlib.Path, like: Params) -> Params:
    """Reads parameters that `write_weights` wrote; the file may come from a stranger.

    Args:
      path: of the .npz.
      like: a pytree of the parameters' shapes and dtypes, abstract ones suffice:
        `jax.eval_shape(network.init, jax.random.key(0))[0]`.

    Returns:
      A pytree as `like`, of arrays on the default device.

    Raises:
      OSError: the file cannot be opened.
      ValueError: the file is damaged, has other names, shapes or dtypes, or a weight is not finite.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; {_ACCEPTED}")
    wanted = _named(like)
    most = sum(_bytes(leaf) + _AROUND + 2 * len(name) for name, leaf in wanted.items()) + _AROUND
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has over {most:,} bytes, more than the network; {_ACCEPTED}")
    try:
        found = _read(content, wanted)
    except (ImportError, MemoryError):
        raise
    except Exception as e:  # a damaged archive can make its reader raise anything
        why = " ".join(str(e).split()) or type(e).__name__
        raise ValueError(f"{path} cannot be read: {why}; {_ACCEPTED}") from e
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in wanted])


def _named(params: Params) -> Mapping[str, Array]:
    """The leaves under the names of their files, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {f"{jax.tree_util.keystr(k, simple=True, separator='/')}.npy": v for k, v in leaves}


def _bytes(leaf: Array) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _read(content: bytes, wanted: Mapping[str, Array]) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        there = archive.namelist()
        if sorted(there) != sorted(wanted):
            other = [*sorted(set(wanted) ^ set(there)), *there][0]
            raise ValueError(
                f"it should hold {len(wanted)} arrays, and differs in {other.encode()[:100]!r}"
            )
        return {name: _member(archive, name, leaf) for name, leaf in wanted.items()}


def _member(archive: zipfile.ZipFile, name: str, leaf: Array) -> Array:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(info) as file:
        content = io.BytesIO(file.read(_bytes(leaf) + _AROUND))
    if (version := np.lib.format.read_magic(content)) != (1, 0):
        raise ValueError(f"{name} is of version {version} of .npy")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(content)
    if shape != leaf.shape or dtype != leaf.dtype or fortran:
        order = " in Fortran's order" if fortran else ""
        raise ValueError(f"{name} is {dtype} {shape}{order}, not {leaf.dtype} {leaf.shape}")
    numbers = content.read()
    if len(numbers) != _bytes(leaf):
        raise ValueError(f"{name} has {len(numbers):,} bytes of numbers, not {_bytes(leaf):,}")
    array = np.frombuffer(numbers, leaf.dtype).reshape(shape)
    _check_finite(name, array)
    return jnp.asarray(array)


def _check_finite(name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite; accepted are finite ones")
