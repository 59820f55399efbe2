"""torch's recurrent modules and Flax's cells."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tlstm_jax.convert.arrays import (
    Arrays,
    Shapes,
    check_names,
    check_setting,
    check_shapes,
    flattened,
    nested,
    numpy_of,
)
from tlstm_jax.typing import Params

GATES = {"gru": 3, "lstm": 4, "rnn": 1}
TORCH = {"gru": "torch.nn.GRU", "lstm": "torch.nn.LSTM", "rnn": "torch.nn.RNN"}

# A cell's kind, and the layers that lie side by side in each entry of `_cell_shapes`.
FLAX = {
    "linen.LSTMCell": ("lstm", "ii if ig io", "hi hf hg ho", "hi hf hg ho"),
    "linen.OptimizedLSTMCell": ("lstm", "ii if ig io", "hi hf hg ho", "hi hf hg ho"),
    "linen.GRUCell": ("gru", "ir iz in", "hr hz hn", "ir iz in", "hn"),
    "linen.SimpleCell": ("rnn", "i", "h", "i"),
    "nnx.LSTMCell": ("lstm", "ii if_ ig io", "hi hf hg ho", "hi hf hg ho"),
    "nnx.OptimizedLSTMCell": ("lstm", "dense_i", "dense_h", "dense_h"),
    "nnx.GRUCell": ("gru", "dense_i", "dense_h", "dense_i", ""),
    "nnx.SimpleCell": ("rnn", "dense_i", "dense_h", "dense_i"),
}


def from_torch(kind: str, state_dict: Arrays) -> Params:
    """The parameters of a torch module.

    torch has two biases where one would do; here they are summed. The GRU's candidate keeps both,
    as the recurrent one is inside the product with r.

    >>> import jax
    >>> weights = {"weight_ih_l0": np.ones((12, 2)), "weight_hh_l0": np.ones((12, 3))}
    >>> jax.tree.map(np.shape, from_torch("lstm", weights))
    {'input': {'kernel': (2, 12)}, 'recurrent': {'bias': (12,), 'kernel': (3, 12)}}

    Args:
      kind: "lstm", "gru" or "rnn" (with tanh), for torch.nn.LSTM, torch.nn.LSTMCell and so on.
      state_dict: the module's: "weight_ih_l0" [Z, I], "weight_hh_l0" [Z, M], "bias_ih_l0" [Z],
        "bias_hh_l0" [Z], where Z is 4M, 3M or M; "_l1" .. of further layers, "_reverse" appended
        for the second direction, no "_l0" in a one-step module. Without biases (bias=False) they
        are zero.

    Returns:
      The tree of `LSTM`, `GRU` or `Elman`; of a bidirectional module {"forward": .., "backward":
      ..}; of several layers {"layer_0": .., "layer_1": .., ..} of either, as in `Stacked`. NumPy
      arrays from NumPy arrays, jax arrays from jax arrays, in the dtypes of the weights.

    Raises:
      ValueError: for another kind, missing or unexpected names (among them "weight_hr", which comes
        with proj_size), and shapes that do not fit.
    """
    check_setting("kind", kind, GATES)
    one_step = "weight_ih" in state_dict
    num_layers = sum(bool(re.fullmatch(r"weight_ih_l\d+", name)) for name in state_dict) or 1
    bidirectional = any(name.endswith("_reverse") for name in state_dict)
    places = _places(num_layers, bidirectional, layered=num_layers > 1, one_step=one_step)
    has_bias = any(name.startswith("bias_") for name in state_dict)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if has_bias else 2]
    names = [part + place.suffix for place in places for part in parts]
    module = TORCH[kind] + ("Cell" if one_step else "")
    check_names("state_dict", state_dict, _axes(names), f"that of {module} without proj_size")

    I, M = (state_dict[name].shape[1] for name in names[:2])
    Z = GATES[kind] * M
    xp, flat = numpy_of(state_dict), {}
    for path, suffix, fan_in in places:
        wanted = [(Z, fan_in * M or I), (Z, M), (Z,), (Z,)]
        shapes = {part + suffix: shape for part, shape in zip(parts, wanted, strict=False)}
        check_shapes(state_dict, shapes, kind)
        w, u, *biases = (state_dict[name] for name in shapes)
        b_i, b_h = biases or 2 * [xp.zeros((Z,), w.dtype)]
        flat |= {f"{path}input/kernel": w.T, f"{path}recurrent/kernel": u.T}
        if kind == "gru":
            both = b_i[: 2 * M] + b_h[: 2 * M]
            flat[f"{path}input/bias"] = xp.concatenate([both, b_i[2 * M :]])
            flat[f"{path}recurrent/bias"] = b_h[2 * M :]
        else:
            flat[f"{path}recurrent/bias"] = b_i + b_h
    return nested(flat)


def to_torch(kind: str, params: Params) -> dict[str, np.ndarray]:
    """What `load_state_dict` of a torch module takes, the inverse of `from_torch`.

    Args:
      kind: "lstm", "gru" or "rnn".
      params: a tree as `from_torch` returns it.

    Returns:
      NumPy arrays under torch's names ("weight_ih_l0" ..; those of a one-step module have no
      "_l0"), in the dtypes of the parameters. "bias_hh" is zero except for the GRU's candidate.

    Raises:
      ValueError: for another kind, missing or unexpected names (among them those of a stack with
        shared weights), and shapes that do not fit.

    Example:
      >>> import jax
      >>> from tlstm_jax import LSTM, convert
      >>> params = LSTM(3).init(jax.random.key(0), input_shape=2)
      >>> {name: array.shape for name, array in convert.to_torch("lstm", params).items()}
      {'weight_ih_l0': (12, 2), 'weight_hh_l0': (12, 3), 'bias_ih_l0': (12,), 'bias_hh_l0': (12,)}
    """
    check_setting("kind", kind, GATES)
    flat = flattened(params)
    num_layers = len({name.split("/")[0] for name in flat if name.startswith("layer_")})
    bidirectional = any({"forward", "backward"} & set(name.split("/")) for name in flat)
    places = _places(num_layers or 1, bidirectional, layered=num_layers > 0)
    names = [place.path + name for place in places for name in _cell_shapes(kind, 0, 0)]
    accepted = f"the tree of one {kind} cell, or {{forward, backward}}, {{layer_0, ..}} of it"
    check_names("params", flat, _axes(names), accepted)

    first, state_dict = places[0].path, {}
    I, M = (flat[f"{first}{part}/kernel"].shape[0] for part in ("input", "recurrent"))
    for path, suffix, fan_in in places:
        shapes = _cell_shapes(kind, fan_in * M or I, M, path)
        check_shapes(flat, shapes, kind)
        cell = {name.removeprefix(path): np.asarray(flat[name]) for name in shapes}
        bias = cell["recurrent/bias"]
        if kind == "gru":
            bias_ih = cell["input/bias"]
            bias_hh = np.concatenate([np.zeros((2 * M,), bias.dtype), bias])
        else:
            bias_ih, bias_hh = bias, np.zeros_like(bias)
        state_dict[f"weight_ih{suffix}"] = cell["input/kernel"].T
        state_dict[f"weight_hh{suffix}"] = cell["recurrent/kernel"].T
        state_dict[f"bias_ih{suffix}"] = bias_ih
        state_dict[f"bias_hh{suffix}"] = bias_hh
    return {name: np.array(array, order="C") for name, array in state_dict.items()}


def from_flax(cell: str, params: Params) -> Params:
    """The parameters of one of Flax's own cells.

    >>> import jax
    >>> simple = {"i": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}, "h": {"kernel": np.eye(3)}}
    >>> jax.tree.map(np.shape, from_flax("linen.SimpleCell", simple))
    {'input': {'kernel': (2, 3)}, 'recurrent': {'bias': (3,), 'kernel': (3, 3)}}

    Args:
      cell: "linen." or "nnx." and "LSTMCell", "OptimizedLSTMCell", "GRUCell" or "SimpleCell".
      params: of linen, variables["params"] (in those of an nn.RNN, what is below "cell"); of nnx,
        nnx.to_pure_dict(nnx.state(cell, nnx.Param)). Kernels [I, M] and [M, M] and biases [M] of
        every gate, or those of all gates side by side.

    Returns:
      The tree of `LSTM`, `GRU` or `Elman`; the recurrent bias, which nnx.GRUCell does not have, is
      zero. NumPy arrays from NumPy arrays, jax arrays from jax arrays, in the dtypes of the
      weights.

    Raises:
      ValueError: for another cell, missing or unexpected names, and shapes that do not fit.
    """
    kind, sources = _flax_cell(cell)
    given, names = flattened(params), [name for source in sources.values() for name in source]
    check_names("params", given, _axes(names), f"that of {cell}, {', '.join(names)}")
    I, M = (given[sources[f"{part}/kernel"][0]].shape[0] for part in ("input", "recurrent"))
    xp, flat = numpy_of(given), {}
    for entry, (*rows, width) in _cell_shapes(kind, I, M).items():
        source = sources[entry]
        check_shapes(given, {n: (*rows, width // len(source)) for n in source}, cell)
        pieces = [given[name] for name in source] or [xp.zeros(width, given[names[0]].dtype)]
        flat[entry] = xp.concatenate(pieces, axis=-1)
    return nested(flat)


def to_flax(cell: str, params: Params) -> Params:
    """The parameters for one of Flax's own cells, the inverse of `from_flax`.

    Args:
      cell: as in `from_flax`.
      params: the tree of `LSTM`, `GRU` or `Elman`.

    Returns:
      What linen takes under "params", or what nnx.update takes. NumPy arrays from NumPy arrays, jax
      arrays from jax arrays, in the dtypes of the parameters.

    Raises:
      ValueError: for another cell, missing or unexpected names, shapes that do not fit, and for
        nnx.GRUCell a recurrent bias that is not zero.

    Example:
      >>> import jax
      >>> from tlstm_jax import GRU, convert
      >>> params = GRU(3).init(jax.random.key(0), input_shape=2)
      >>> sorted(convert.to_flax("linen.GRUCell", params))
      ['hn', 'hr', 'hz', 'in', 'ir', 'iz']
    """
    kind, sources = _flax_cell(cell)
    flat, names = flattened(params), _cell_shapes(kind, 0, 0)
    check_names("params", flat, _axes(names), f"the tree of one {kind} cell, {', '.join(names)}")
    I, M = (flat[f"{part}/kernel"].shape[0] for part in ("input", "recurrent"))
    check_shapes(flat, _cell_shapes(kind, I, M), kind)
    xp, given = numpy_of(flat), {}
    for entry, source in sources.items():
        if source:
            pieces = xp.split(flat[entry], len(source), axis=-1)
            given |= dict(zip(source, pieces, strict=True))
        elif np.any(np.asarray(flat[entry])):
            raise ValueError(f"{entry} is not zero; accepted is zero, as {cell} has none")
    return nested(given)


def _flax_cell(cell: str) -> tuple[str, dict[str, list[str]]]:
    """Its kind, and our entries with the cell's entries that they consist of."""
    check_setting("cell", cell, FLAX)
    kind, *layers = FLAX[cell]
    sources = {}
    for entry, names in zip(_cell_shapes(kind, 0, 0), layers, strict=True):
        part = entry.split("/")[1]
        sources[entry] = [f"{name}/{part}" for name in names.split()]
    return kind, sources


class _Place(NamedTuple):
    """Of one cell: the prefix of our names, and the suffix of torch's."""

    path: str
    suffix: str
    fan_in: int  # I / M where the inputs are another layer's outputs, else 0


def _places(
    num_layers: int, bidirectional: bool, layered: bool, one_step: bool = False
) -> list[_Place]:
    sides = {"forward/": "", "backward/": "_reverse"} if bidirectional else {"": ""}
    return [
        _Place(
            (f"layer_{n}/" if layered else "") + side,
            ("" if one_step else f"_l{n}") + suffix,
            len(sides) if n else 0,
        )
        for n in range(num_layers)
        for side, suffix in sides.items()
    ]


def _cell_shapes(kind: str, I: int, M: int, path: str = "") -> Shapes:
    Z = GATES[kind] * M
    shapes = {f"{path}input/kernel": (I, Z), f"{path}recurrent/kernel": (M, Z)}
    if kind == "gru":
        return shapes | {f"{path}input/bias": (Z,), f"{path}recurrent/bias": (M,)}
    return shapes | {f"{path}recurrent/bias": (Z,)}


def _axes(names: Iterable[str]) -> dict[str, int]:
    return {name: 1 if "bias" in name else 2 for name in names}
