"""Cells and layers of the package xlstm, by the authors of xLSTM."""

import jax.numpy as jnp

from tlstm_jax.cells.slstm import SLSTM
from tlstm_jax.convert.arrays import (
    AnyArray,
    Arrays,
    check_names,
    check_setting,
    check_shapes,
    nested,
    numpy_of,
)
from tlstm_jax.models.matrix_lstm import MatrixLSTM
from tlstm_jax.typing import Params

OPEN = 40.0  # whose sigmoid is 1 in every dtype

# The names of a module's arrays, and their axes.
_S_CELL = {"_recurrent_kernel_": 3, "_bias_": 1}
_M_CELL = {"igate.weight": 2, "igate.bias": 1, "fgate.weight": 2, "fgate.bias": 1}
_M_CELL |= {"outnorm.weight": 1}
_CONVOLUTION = {"conv1d.conv.weight": 3, "conv1d.conv.bias": 1}
XLSTM = {
    "sLSTMCell": _S_CELL,
    "sLSTMLayer": {
        **{f"{gate}gate.weight": 3 for gate in "fizo"},
        **{f"slstm_cell.{name}": axes for name, axes in _S_CELL.items()},
    },
    "mLSTMCell": _M_CELL,
    "mLSTMLayer": {
        "proj_up.weight": 2,
        **{f"{name}_proj.weight": 3 for name in "qkv"},
        **_CONVOLUTION,
        **{f"mlstm_cell.{name}": axes for name, axes in _M_CELL.items()},
        "learnable_skip": 1,
        "proj_down.weight": 2,
    },
}


def from_xlstm(kind: str, state_dict: Arrays) -> tuple[SLSTM | MatrixLSTM, Params]:
    """The recurrence of a cell or layer of xlstm: all that is in front of its normalization.

    What the model reads, with c = silu(conv1d(x)) where a layer has a convolution:

        sLSTMCell       the cell's input [i, f, z, o], [4M]
        sLSTMLayer      [c, x], [2M]; x, [M], of a layer without convolution
        mLSTMCell       [q, k, v], [3M]
        mLSTMLayer      [c, x], [2M], where x is the first half of what proj_up returns

    and it computes what the package's cell gives its group norm ("group_norm", "outnorm"). That
    norm, the convolution, "learnable_skip" and the projections around are left out, as `Block` has
    others. An mLSTM of the package adds 1e-6 to its divisor, which ours does not; ours has an
    output gate, which is 1 here. The names of the sLSTM's gates are as its layer uses them: what
    its "fgate" computes is i, and "igate" is f.

    Args:
      kind: "sLSTMCell" (of either backend), "sLSTMLayer", "mLSTMCell" or "mLSTMLayer".
      state_dict: the module's.

    Returns:
      (model, params) of `SLSTM` or `MatrixLSTM`. NumPy arrays from NumPy arrays, jax arrays from
      jax arrays, in the dtypes of the weights.

    Raises:
      ValueError: for another kind, missing or unexpected names (among them those of bias=True), and
        shapes that do not fit.

    Example:
      >>> import jax, numpy as np
      >>> from tlstm_jax.convert import from_xlstm
      >>> weights = {"_recurrent_kernel_": np.ones((2, 12, 3)), "_bias_": np.ones(24)}
      >>> model, params = from_xlstm("sLSTMCell", weights)
      >>> model.features, jax.tree.map(np.shape, params["recurrent"])
      (6, {'bias': (24,), 'kernel': (2, 3, 12)})
    """
    check_setting("kind", kind, XLSTM)
    names = dict(XLSTM[kind])
    if kind == "sLSTMLayer":
        names |= _CONVOLUTION if "conv1d.conv.weight" in state_dict else {}
        names |= {"group_norm.weight": 1} if "group_norm.weight" in state_dict else {}
    accepted = f"that of an {kind}{' without bias' * (kind == 'mLSTMLayer')}, {', '.join(names)}"
    check_names("state_dict", state_dict, names, accepted)
    if kind == "sLSTMCell":
        return _slstm(state_dict)
    if kind == "sLSTMLayer":
        return _slstm(_below("slstm_cell.", state_dict), state_dict)
    if kind == "mLSTMCell":
        return _mlstm(state_dict)
    return _mlstm(_below("mlstm_cell.", state_dict), state_dict)


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}


def _slstm(cell: Arrays, layer: Arrays | None = None) -> tuple[SLSTM, Params]:
    xp, u, bias = numpy_of(cell), cell["_recurrent_kernel_"], cell["_bias_"]
    H, width = u.shape[0], min(u.shape[1:])
    M, plain = H * width, u.shape[1] > u.shape[2]  # the backend "vanilla", "cuda" otherwise
    sizes = (4 * width, width) if plain else (width, 4 * width)
    owner = f"{H} heads of {width}"
    check_shapes(cell, {"_recurrent_kernel_": (H, *sizes), "_bias_": (4 * M,)}, owner)
    if plain:
        u = u.swapaxes(1, 2)
    else:
        bias = bias.reshape(H, 4, width).swapaxes(0, 1).reshape(4 * M)
    w = xp.eye(4 * M, dtype=u.dtype) if layer is None else _of_layer(layer, H, width)
    return SLSTM(M, num_heads=H), nested(
        {"input/kernel": w, "recurrent/kernel": u, "recurrent/bias": bias}
    )


def _of_layer(layer: Arrays, H: int, width: int) -> AnyArray:
    """The kernel of x, or of [c, x], of an sLSTMLayer."""
    names = [f"{gate}gate.weight" for gate in "fizo"]
    check_shapes(layer, dict.fromkeys(names, (H, width, width)), f"{H} heads of {width}")
    _check_left_out(layer, H * width)
    i, f, z, o = (_diagonal(layer[name]) for name in names)  # i is of "fgate"
    xp = numpy_of(layer)
    if "conv1d.conv.weight" not in layer:
        return xp.concatenate([i, f, z, o], axis=1)
    none = xp.zeros_like(i)
    rows = [i, f, none, none], [none, none, z, o]
    return xp.concatenate([xp.concatenate(row, axis=1) for row in rows])


def _mlstm(cell: Arrays, layer: Arrays | None = None) -> tuple[MatrixLSTM, Params]:
    xp, H, M = numpy_of(cell), cell["igate.weight"].shape[0], cell["outnorm.weight"].shape[0]
    if M % H:
        raise ValueError(f"outnorm.weight has shape ({M},); accepted is a multiple of {H} heads")
    shapes = {f"{gate}gate.weight": (H, 3 * M) for gate in "if"}
    check_shapes(cell, shapes | {f"{gate}gate.bias": (H,) for gate in "if"}, f"{M} features")
    gates = xp.concatenate([cell["igate.weight"], cell["fgate.weight"]]).T  # [3M, 2H]
    if layer is None:
        q, k, v = xp.split(xp.eye(3 * M, dtype=gates.dtype), 3, axis=1)
    else:
        _check_left_out(layer, M)
        q, k, v = (_diagonal(_blocks(layer, f"{name}_proj.weight", M)) for name in "qkv")
        of_q, of_k, of_v = xp.split(gates, 3)
        rows = [_product(q, of_q) + _product(k, of_k), _product(v, of_v)]
        gates = xp.concatenate(rows).astype(gates.dtype)
        q, k, v = (
            xp.concatenate([xp.zeros_like(a)] * before + [a] + [xp.zeros_like(a)] * (1 - before))
            for a, before in ((q, 0), (k, 0), (v, 1))
        )
    bias = xp.concatenate([cell["igate.bias"], cell["fgate.bias"]])
    return MatrixLSTM(M, num_heads=H), nested(
        {
            "query/kernel": q,
            "key/kernel": k,
            "value/kernel": v,
            "gates/kernel": gates,
            "gates/bias": bias,
            "output/kernel": xp.zeros_like(q),
            "output/bias": xp.full(M, OPEN, bias.dtype),
        }
    )


def _check_left_out(layer: Arrays, M: int) -> None:
    """The shapes of what is around a recurrence of M features."""
    shapes = {"conv1d.conv.bias": (M,), "group_norm.weight": (M,), "learnable_skip": (M,)}
    if "conv1d.conv.weight" in layer:
        shapes["conv1d.conv.weight"] = (M, 1, layer["conv1d.conv.weight"].shape[2])
    if "proj_up.weight" in layer:
        width = layer["proj_up.weight"].shape[1]
        shapes |= {"proj_up.weight": (2 * M, width), "proj_down.weight": (width, M)}
    there = {name: shape for name, shape in shapes.items() if name in layer}
    check_shapes(layer, there, f"{M} features")


def _blocks(layer: Arrays, name: str, M: int) -> AnyArray:
    """Matrices on a diagonal, together [M, M]."""
    count, width, _ = layer[name].shape
    if layer[name].shape != (count, width, width) or count * width != M:
        raise ValueError(
            f"{name} has shape {layer[name].shape}; accepted for {M} features are square blocks of "
            "as many rows"
        )
    return layer[name]


def _diagonal(weight: AnyArray) -> AnyArray:
    """The matrix [M, M] with these blocks [H, out, in], transposed, on its diagonal."""
    H, width, _ = weight.shape
    which = numpy_of({"": weight}).eye(H, dtype=weight.dtype)[:, None, :, None]
    return (weight.swapaxes(1, 2)[:, :, None] * which).reshape(H * width, H * width)


def _product(a: AnyArray, b: AnyArray) -> AnyArray:
    """In float32 or wider."""
    a, b = (m if m.dtype.itemsize >= 4 else m.astype(jnp.float32) for m in (a, b))
    return a @ b
