"""The package recurrentgemma, by the authors of Griffin."""

from tlstm_jax.convert.arrays import check_names, check_shapes, flattened, nested, numpy_of
from tlstm_jax.models.rg_lru import RGLRU
from tlstm_jax.typing import Params


def from_recurrentgemma(params: Params) -> tuple[RGLRU, Params]:
    """An RG-LRU of recurrentgemma, real numbers only.

    The model computes what the module does, but for where 1 - a^2 is below 2.5e-7, our least. The
    package's `RecurrentBlock` around it is none of `Block`'s: its convolution has no SiLU, its gate
    is a GELU, and its linear maps have biases. Of that block, convert what is below "rg_lru".

    Args:
      params: those of its linen or torch module: "a_param" [M], "a_gate" and "input_gate" with "w"
        [H, M / H, M / H] and "b" [H, M / H]; nested, or under names such as "a_gate.w".

    Returns:
      (model, params) of `RGLRU`, which reads vectors of M features. NumPy arrays from NumPy arrays,
      jax arrays from jax arrays, in the dtypes of the weights.

    Raises:
      ValueError: for missing or unexpected names, and shapes that do not fit.

    Example:
      >>> import jax, numpy as np
      >>> from tlstm_jax.convert import from_recurrentgemma
      >>> gate = {"w": np.ones((2, 3, 3)), "b": np.ones((2, 3))}
      >>> weights = {"a_param": np.ones(6), "a_gate": gate, "input_gate": gate}
      >>> model, params = from_recurrentgemma(weights)
      >>> model.num_heads, jax.tree.map(np.shape, params["gates"])
      (2, {'bias': (12,), 'kernel': (2, 3, 6)})
    """
    given = {name.replace("/", "."): array for name, array in flattened(params).items()}
    names = {"a_param": 1, "a_gate.w": 3, "a_gate.b": 2, "input_gate.w": 3, "input_gate.b": 2}
    check_names("params", given, names, "that of an RGLRU of real numbers, " + ", ".join(names))
    H, width, _ = given["a_gate.w"].shape
    M, xp = H * width, numpy_of(given)
    shapes = {"a_param": (M,)}
    for gate in ("a_gate", "input_gate"):
        shapes |= {f"{gate}.w": (H, width, width), f"{gate}.b": (H, width)}
    check_shapes(given, shapes, f"{H} heads of {width}")
    gates = ("a_gate", "input_gate")  # r, i
    dtype = given["a_gate.w"].dtype
    return RGLRU(M, num_heads=H), nested(
        {
            "input/kernel": xp.eye(M, dtype=dtype),
            "input/bias": xp.zeros(M, dtype),
            "gates/kernel": xp.concatenate([given[f"{gate}.w"] for gate in gates], axis=-1),
            "gates/bias": xp.concatenate([given[f"{gate}.b"].reshape(M) for gate in gates]),
            "decay/bias": given["a_param"],
        }
    )
