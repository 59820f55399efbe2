"""What the files of a checkpoint contain, checked before Orbax reads them.

Checksums tell that files are those that were saved, not who saved them. A stranger's may be nested
so deeply that a parser crashes, or have arrays whose chunks fill the memory before anything is
compared.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import tensorstore

from tlstm_jax.typing import PyTree

_MOST_JSON = 2**24  # bytes of one file; what is saved has some kB
_MOST_DEPTH = 100
_MOST_BYTES = 16  # of a number
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CHUNK = re.compile(r"[0-9.]+")


class Stored(NamedTuple):
    """An array in a checkpoint."""

    shape: list[int]
    chunks: list[int]


def problem(folder: pathlib.Path) -> str | None:
    """The first of a checkpoint's files that is unsafe for a JSON parser, and why; or None."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name == "manifest.ocdbt" or path.parent.name == "d":
            continue  # binary
        with path.open("rb") as file:
            content = file.read(_MOST_JSON + 1)
        if len(content) > _MOST_JSON:
            return f"{name} has over {_MOST_JSON:,} bytes"
        if _depth(content) > _MOST_DEPTH:
            return f"{name} is nested over {_MOST_DEPTH} deep"
    return None


def _depth(content: bytes) -> int:
    brackets = np.frombuffer(_QUOTED.sub(b"", content), np.uint8)
    opened = np.isin(brackets, list(b"[{")).astype(np.int64)
    closed = np.isin(brackets, list(b"]}")).astype(np.int64)
    return int(np.cumsum(opened - closed).max(initial=0))


def arrays(state: pathlib.Path) -> dict[str, Stored]:
    """The arrays of a checkpoint's state, by Orbax's names.

    Raises:
      ValueError: it is not in the format in which checkpoints are saved here, or has chunks that
        are larger than their array.
    """
    metadata = json.loads((state / "_METADATA").read_bytes())
    if metadata.get("use_zarr3") or not metadata.get("use_ocdbt", True):
        raise ValueError(f"{state.name}/_METADATA has another format; accepted is Zarr in OCDBT")
    if plain := sorted(p for p in state.rglob("*") if p.name in (".zarray", "zarr.json")):
        raise ValueError(
            f"{plain[0].relative_to(state.parent)} has another format; accepted is Zarr in OCDBT"
        )
    where = {"driver": "ocdbt", "base": f"file://{state.absolute()}/"}
    store = tensorstore.KvStore.open(where).result()
    found = {}
    for key in sorted(store.list().result()):
        name, _, last = key.decode().rpartition("/")
        if last == ".zarray":
            found[name] = _stored(name, store.read(key).result().value)
        elif not _CHUNK.fullmatch(last):
            raise ValueError(f"a key is {key.decode()!r}; accepted are .zarray and chunks")
    return found


def _stored(name: str, content: bytes) -> Stored:
    if len(content) > _MOST_JSON or _depth(content) > _MOST_DEPTH:
        raise ValueError(
            f"{name}/.zarray is too long or too deep; accepted are {_MOST_JSON:,} bytes, nested "
            f"{_MOST_DEPTH} deep"
        )
    array = json.loads(content)
    shape, chunks, dtype = (array.get(k) for k in ("shape", "chunks", "dtype"))
    for sizes in (shape, chunks):
        if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes):
            raise ValueError(
                f"{name} has {sizes!r} as its shape or chunks; accepted are lists of integers >= 0"
            )
    if len(shape) != len(chunks):
        raise ValueError(f"{name} of shape {shape} has chunks {chunks}; accepted are as many")
    if any(not 1 <= c <= max(1, n) for c, n in zip(chunks, shape, strict=True)):
        raise ValueError(
            f"{name} of shape {shape} has chunks {chunks}; accepted are 1 to the size of each axis"
        )
    try:
        right = jax.numpy.dtype(dtype).itemsize <= _MOST_BYTES
    except TypeError:
        right = False
    if not right:
        raise ValueError(f"{name} is of dtype {dtype}; accepted are numbers")
    return Stored(shape, chunks)


def difference(found: dict[str, Stored], like: PyTree, *, within: tuple[str, ...] = ()) -> str:
    """The first array in which a checkpoint differs from what is to be read, in words; "" if none.

    Args:
      found: of `arrays`.
      like: a pytree of arrays, abstract ones suffice.
      within: compare only arrays below these names; all if ().
    """
    wanted = dict(_shapes(like))
    for name, shape in wanted.items():
        if name not in found:
            return f"it lacks {name}"
        if found[name].shape != shape:
            return f"{name} has shape {found[name].shape}; accepted is {shape}"
    for name in found:
        if name not in wanted and (not within or name.split(".")[0] in within):
            return f"it has {name}; accepted are arrays of this configuration"
    return ""


def _shapes(like: PyTree) -> Iterator[tuple[str, list[int]]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(like):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf: Any = jax.eval_shape(jax.random.key_data, leaf)
        yield jax.tree_util.keystr(path, simple=True, separator="."), list(leaf.shape)
