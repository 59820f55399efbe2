"""Cells and layers of the package xlstm, by the authors of xLSTM."""

from types import ModuleType

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

# The names of a layer of xlstm, and the axes of their arrays; those in brackets may be missing.
_S_CELL = {"_recurrent_kernel_": 3, "_bias_": 1}
_M_CELL = {"igate.weight": 2, "igate.bias": 1, "fgate.weight": 2, "fgate.bias": 1}
_M_CELL |= {"outnorm.weight": 1}
_CONVOLUTION = {"conv1d.conv.weight": 3, "conv1d.conv.bias": 1}
XLSTM = {
    "sLSTMCell": _S_CELL,
    "mLSTMCell": _M_CELL,
    "sLSTMLayer": {
        **{f"{gate}gate.weight": 3 for gate in "fizo"},
        **{f"slstm_cell.{name}": axes for name, axes in _S_CELL.items()},
        **{f"({name})": axes for name, axes in _CONVOLUTION.items()},
        "(group_norm.weight)": 1,
    },
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
    names = {}
    for name, axes in XLSTM[kind].items():
        if not name.startswith("(") or name[1:-1] in state_dict:
            names[name.strip("()")] = axes
    accepted = f"that of an {kind} without bias" if kind == "mLSTMLayer" else f"that of an {kind}"
    check_names("state_dict", state_dict, names, f"{accepted}, {', '.join(names)}")
    xp = numpy_of(state_dict)
    match kind:
        case "sLSTMCell":
            return _slstm(xp, state_dict)
        case "sLSTMLayer":
            cell = _below("slstm_cell.", state_dict)
            return _slstm(xp, cell, state_dict, convolved="conv1d.conv.weight" in state_dict)
        case "mLSTMCell":
            return _mlstm(xp, state_dict)
        case _:
            return _mlstm(xp, _below("mlstm_cell.", state_dict), state_dict)


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}


def _slstm(
    xp: ModuleType, cell: Arrays, layer: Arrays | None = None, convolved: bool = False
) -> tuple[SLSTM, Params]:
    u, bias = cell["_recurrent_kernel_"], cell["_bias_"]
    H, width = u.shape[0], min(u.shape[1:])
    M, own = H * width, u.shape[1] > u.shape[2]  # the backend without CUDA has the kernel turned
    turned = (H, 4 * width, width) if own else (H, width, 4 * width)
    shapes = {"_recurrent_kernel_": turned, "_bias_": (4 * M,)}
    check_shapes(cell, shapes, f"{H} heads of {width}")
    if own:
        u = u.swapaxes(1, 2)
    else:
        bias = bias.reshape(H, 4, width).swapaxes(0, 1).reshape(4 * M)
    w = xp.eye(4 * M, dtype=u.dtype)
    if layer:
        names = [f"{gate}gate.weight" for gate in "fizo"]  # what it calls fgate computes i
        check_shapes(layer, dict.fromkeys(names, (H, width, width)), f"{H} heads of {width}")
        i, f, z, o = (_diagonal(xp, layer[name]) for name in names)
        w = _from_two([i, f], [z, o], xp) if convolved else xp.concatenate([i, f, z, o], axis=1)
    return SLSTM(M, num_heads=H), nested(
        {"input/kernel": w, "recurrent/kernel": u, "recurrent/bias": bias}
    )


def _mlstm(xp: ModuleType, cell: Arrays, layer: Arrays | None = None) -> tuple[MatrixLSTM, Params]:
    H, M = cell["igate.weight"].shape[0], cell["outnorm.weight"].shape[0]
    if M % H:
        raise ValueError(f"outnorm.weight has shape {(M,)}; accepted is a multiple of {H} heads")
    shapes = {f"{gate}gate.weight": (H, 3 * M) for gate in "if"}
    check_shapes(cell, shapes | {f"{gate}gate.bias": (H,) for gate in "if"}, f"{M} features")
    gates = xp.concatenate([cell["igate.weight"], cell["fgate.weight"]]).T  # [3M, 2H]
    one = xp.eye(M, dtype=gates.dtype)
    none = xp.zeros_like(one)
    if layer:
        q, k, v = (_blocks(xp, layer, name, M) for name in "qkv")
        of_q, of_k, of_v = xp.split(gates, 3)
        rows = [_product(q, of_q) + _product(k, of_k), _product(v, of_v)]
        gates = xp.concatenate(rows).astype(gates.dtype)
        q, k, v = (xp.concatenate(r) for r in ((q, none), (k, none), (none, v)))
    else:
        q, k, v = (
            xp.concatenate(r) for r in ((one, none, none), (none, one, none), (none, none, one))
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


def _blocks(xp: ModuleType, layer: Arrays, name: str, M: int) -> AnyArray:
    weight = layer[f"{name}_proj.weight"]
    width = weight.shape[1]
    shapes = {f"{name}_proj.weight": (M // width, width, width)}
    check_shapes(layer, shapes, f"blocks of {width} in {M} features")
    return _diagonal(xp, weight)


def _diagonal(xp: ModuleType, weight: AnyArray) -> AnyArray:
    """The matrix [M, M] with these blocks [H, out, in], transposed, on its diagonal."""
    H, width, _ = weight.shape
    which = xp.eye(H, dtype=weight.dtype)[:, None, :, None]
    return (weight.swapaxes(1, 2)[:, :, None] * which).reshape(H * width, H * width)


def _from_two(first: list[AnyArray], second: list[AnyArray], xp: ModuleType) -> AnyArray:
    """[A, B, 0, 0] above [0, 0, C, D]."""
    none = [xp.zeros_like(block) for block in first]
    rows = [xp.concatenate(blocks, axis=1) for blocks in (first + none, none + second)]
    return xp.concatenate(rows)


def _product(a: AnyArray, b: AnyArray) -> AnyArray:
    """In float32 or wider."""
    a, b = (m if m.dtype.itemsize >= 4 else m.astype(jnp.float32) for m in (a, b))
    return a @ b
