"""Files of safetensors, in which checkpoints are published.

The format is 8 bytes, the length of what follows; JSON, which says for each name its dtype, shape
and place; and the numbers. Nothing in it can be executed. The file may come from a stranger: what
its JSON says is compared with the file's length before anything is made of that size.
"""

import json
import math
import pathlib
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

MOST = 2**24  # bytes of JSON
DTYPES = {
    **{"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16},
    **{"F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2, "C64": np.complex64},
    **{"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "BOOL": np.bool_},
    **{"U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8},
}


class _Place(NamedTuple):
    begin: int
    end: int
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


def load_safetensors(path: str | pathlib.Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of a file of safetensors.

    Args:
      path: of the file; of a checkpoint in several files, of one of these.
      prefix: reads only what is under names that begin so, and takes it off them: of one layer, as
        the converters take them, "backbone.layers.0.mixer." say.

    Returns:
      NumPy arrays by name, in the file's dtypes; BF16 is jnp.bfloat16.

    Raises:
      OSError: the file cannot be opened.
      ValueError: the file is damaged, is another format's, has numbers of a dtype that NumPy and
        jax do not have, or no name with the prefix.

    Example:
      >>> import json, pathlib, tempfile
      >>> import numpy as np
      >>> from tlstm_jax.convert import load_safetensors
      >>> names = {"layers.0.D": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
      >>> header = json.dumps(names).encode()
      >>> path = pathlib.Path(tempfile.mkdtemp(), "model.safetensors")
      >>> numbers = np.ones(2, np.float32).tobytes()
      >>> written = path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)
      >>> load_safetensors(path, prefix="layers.0.")
      {'D': array([1., 1.], dtype=float32)}
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; accepted is one of safetensors")
    with path.open("rb") as file:
        try:
            start, places = _header(file, path.stat().st_size)
            found = {
                place.name.removeprefix(prefix): _array(file, start, place)
                for place in places
                if place.name.startswith(prefix)
            }
        except (ValueError, RecursionError) as e:
            why = " ".join(str(e).split())
            raise ValueError(
                f"{path} cannot be read: {why}; accepted is a file of safetensors"
            ) from e
    if prefix and not found:
        there = ", ".join(repr(place.name) for place in places[:3]) or "none"
        raise ValueError(f"{path} has no name that begins with {prefix!r}; its first are {there}")
    return found


def _header(file: BinaryIO, size: int) -> tuple[int, list[_Place]]:
    """Where the numbers start, and the arrays in the order of these."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"its {size:,} bytes are fewer than its first 8 say")
    if length > MOST:
        raise ValueError(f"its names and shapes take {length:,} bytes, over {MOST:,}")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_without_doubles)
    except UnicodeDecodeError as e:
        raise ValueError("its names are no UTF-8") from e
    if not isinstance(header, dict):
        raise ValueError("its JSON is no object")
    header.pop("__metadata__", None)
    places = sorted(_place(name, entry) for name, entry in header.items())
    end = 0
    for place in places:
        if place.begin != end:
            raise ValueError(f"{place.name!r} begins at {place.begin}, where {end} is next")
        end = place.end
    if end != size - 8 - length:
        raise ValueError(f"it has {size - 8 - length:,} bytes of numbers, and says {end:,}")
    return 8 + length, places


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name is there twice")
    return names


def _place(name: str, entry: Any) -> _Place:
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
        case _:
            raise ValueError(f"{name!r} is not described by dtype, shape and data_offsets")
    if kind not in DTYPES:
        raise ValueError(f"{name!r} is of the dtype {kind!r}, not one of {', '.join(DTYPES)}")
    if len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise ValueError(f"{name!r} has a shape or data_offsets that are no sizes")
    dtype = np.dtype(DTYPES[kind])
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} has {end - begin} bytes, which is not {kind} {shape}")
    return _Place(begin, end, name, dtype, tuple(shape))


def _array(file: BinaryIO, start: int, place: _Place) -> np.ndarray:
    content = np.empty(place.end - place.begin, np.uint8)
    file.seek(start + place.begin)
    if file.readinto(content) != len(content):
        raise ValueError(f"{place.name!r} ends early")
    array = content.astype(bool) if place.dtype == bool else content.view(place.dtype)
    return array.reshape(place.shape)
