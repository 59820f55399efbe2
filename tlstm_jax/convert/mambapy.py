"""The package mambapy, an implementation of Mamba in PyTorch."""

from tlstm_jax.convert.arrays import Arrays, check_names, check_shapes, nested, numpy_of
from tlstm_jax.models.block import Block
from tlstm_jax.models.mamba import Mamba
from tlstm_jax.typing import Params


def from_mambapy(state_dict: Arrays) -> tuple[Block, Params]:
    """A MambaBlock of mambapy, whose names mamba_ssm and transformers share.

    The model computes x + block(x) for each x: a `Block` without normalization, of a `Mamba` whose
    own input map is the identity. The package's `ResidualBlock` normalizes what `block` reads but
    not the sum; where that is wanted, normalize x, and add ys - x to what was before.

    Args:
      state_dict: "in_proj.weight" [2E, M], "conv1d.weight" [E, 1, S], "conv1d.bias" [E] (may be
        missing), "x_proj.weight" [R + 2N, E], "dt_proj.weight" [E, R], "dt_proj.bias" [E], "A_log"
        [E, N], "D" [E] and "out_proj.weight" [M, E].

    Returns:
      (model, params) of `Block`, which reads vectors of M features. NumPy arrays from NumPy arrays,
      jax arrays from jax arrays, in the dtypes of the weights.

    Raises:
      ValueError: for missing or unexpected names (among them those of bias=True and
        inner_layernorms=True), shapes that do not fit, and a convolution over a single step.

    Example:
      >>> import numpy as np
      >>> from tlstm_jax.convert import from_mambapy
      >>> M, E, N, R, S = 2, 4, 3, 1, 4
      >>> shapes = {"in_proj.weight": (2 * E, M), "conv1d.weight": (E, 1, S), "conv1d.bias": (E,)}
      >>> shapes |= {"x_proj.weight": (R + 2 * N, E), "dt_proj.weight": (E, R), "D": (E,)}
      >>> shapes |= {"dt_proj.bias": (E,), "A_log": (E, N), "out_proj.weight": (M, E)}
      >>> weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
      >>> model, params = from_mambapy(weights)
      >>> model.features, model.conv_size, model.model.state_features, sorted(params)
      (2, 4, 3, ['convolution', 'down', 'gate', 'model', 'up'])
    """
    names = {"in_proj.weight": 2, "conv1d.weight": 3, "conv1d.bias": 1, "x_proj.weight": 2}
    names |= {"dt_proj.weight": 2, "dt_proj.bias": 1, "A_log": 2, "D": 1, "out_proj.weight": 2}
    if "conv1d.bias" not in state_dict:
        del names["conv1d.bias"]
    accepted = "that of a MambaBlock without bias and inner_layernorms, " + ", ".join(names)
    check_names("state_dict", state_dict, names, accepted)
    (M, E), R = state_dict["out_proj.weight"].shape, state_dict["dt_proj.weight"].shape[1]
    N, S = state_dict["A_log"].shape[1], state_dict["conv1d.weight"].shape[2]
    shapes = {"in_proj.weight": (2 * E, M), "conv1d.weight": (E, 1, S), "conv1d.bias": (E,)}
    shapes |= {"x_proj.weight": (R + 2 * N, E), "dt_proj.weight": (E, R), "dt_proj.bias": (E,)}
    shapes |= {"A_log": (E, N), "D": (E,)}
    check_shapes(state_dict, {n: shapes[n] for n in names if n in shapes}, f"{M} to {E} features")
    if S == 1:
        raise ValueError("conv1d.weight has one step; accepted are at least 2, as in a Block")

    xp, up = numpy_of(state_dict), state_dict["in_proj.weight"]
    inner = Mamba(E, state_features=N, step_rank=R)
    convolution = state_dict["conv1d.weight"]
    bias = state_dict.get("conv1d.bias", xp.zeros(E, convolution.dtype))
    return Block(inner, M, embed=False, normalize=False, conv_size=S), nested(
        {
            "up/kernel": up[:E].T,
            "gate/kernel": up[E:].T,
            "down/kernel": state_dict["out_proj.weight"].T,
            "convolution/kernel": convolution[:, 0, ::-1].T,  # ours begins at the latest step
            "convolution/bias": bias,
            "model/input/kernel": xp.eye(E, dtype=up.dtype),
            "model/selection/kernel": state_dict["x_proj.weight"].T,
            "model/step/kernel": state_dict["dt_proj.weight"].T,
            "model/step/bias": state_dict["dt_proj.bias"],
            "model/transition/log_rate": state_dict["A_log"],
            "model/skip/scale": state_dict["D"],
        }
    )
