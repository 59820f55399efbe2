"""cuDNN's LSTM, through `jax.experimental.rnn`, in place of the loop over time.

It has the equations of `tlstm_jax.cells.lstm.LSTM` and the same order of gates, but two biases a
gate and all weights in one vector; both are converted here. One call computes all layers of a stack
and both directions of time, which then overlap. Its sequences are batch-major, and padded to one
length.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import sequential_vmap
from jax.experimental import rnn

from tlstm_jax.cells.linear import widened
from tlstm_jax.cells.lstm import LSTM, LSTMCarry
from tlstm_jax.recurrence.alternatives import Function, either
from tlstm_jax.recurrence.engine import run
from tlstm_jax.recurrence.loop import Inputs, select
from tlstm_jax.typing import Array, Carry, Cell, Params, PyTree

MOST_TOKENS = 1024  # of a vocabulary, since tokens become one-hot vectors
# The values of jax_default_matmul_precision that allow float32 products to be rounded to TF32.
TF32 = (None, "default", "fastest", "high", "bfloat16", "bfloat16_3x", "tensorfloat32")
TF32 += ("TF32_TF32_F32", "BF16_BF16_F32")


class Sizes(NamedTuple):
    """Of a stack of LSTMs."""

    inputs: int
    features: int
    layers: int
    directions: int


def takes(
    engine: str,
    cells: Sequence[Cell],
    params: Sequence[Params],
    carries: Sequence[Carry],
    xs: Array,
    *,
    directions: int = 1,
    **options: Any,
) -> bool:
    """Whether `engine` allows cuDNN, and cuDNN can do this.

    Args:
      cells, params, carries: layer by layer; of two directions, forward first.
      xs: [T, B, I], or tokens [T, B].
      options: other arguments of `unroll`, of which cuDNN takes none but None.

    Raises:
      ValueError: the engine is "cudnn", and cuDNN cannot.
    """
    if engine not in ("auto", "cudnn"):
        return False
    reason = why_not(cells, params, carries, xs, directions=directions, **options)
    if engine == "cudnn" and reason:
        raise ValueError(f"engine is 'cudnn', but {reason}; accepted are auto, deferred, scan")
    return reason is None


def why_not(
    cells: Sequence[Cell],
    params: Sequence[Params],
    carries: Sequence[Carry],
    xs: Array,
    *,
    directions: int = 1,
    **options: Any,
) -> str | None:
    """Why cuDNN cannot run what `takes` is asked for, in words; None if it can."""
    for cell in cells:
        if type(cell) is not LSTM:
            return f"the cell is {type(cell).__name__}, and cuDNN has LSTM"
    if given := [name for name, value in options.items() if value is not None]:
        return f"cuDNN has no {', '.join(given)}"
    tokens = _are_tokens(xs)
    floats = [*jax.tree.leaves((params, carries)), *([] if tokens else [xs])]
    dtypes = {leaf.dtype for leaf in floats} | {
        jnp.dtype(cell.dtype or "float32") for cell in cells
    }
    if others := sorted(str(dtype) for dtype in dtypes - {jnp.dtype("float32")}):
        return f"a dtype is {', '.join(others)}, and cuDNN has float32"
    M, size = cells[0].features, params[0]["input"]["kernel"].shape[0] if tokens else xs.shape[-1]
    for n, (p, carry) in enumerate(zip(params, carries, strict=True)):
        size = directions * M if n == directions else size
        given = [leaf.shape for leaf in (*_weights(p), *carry)]
        if given != [(size, 4 * M), (M, 4 * M), (4 * M,), *[(xs.shape[1], M)] * 2]:
            return f"weights and carry have shapes {given}, which are not those of an LSTM"
    if 0 in xs.shape:
        return f"xs has shape {xs.shape}, and nothing in it"
    if tokens and size > MOST_TOKENS:
        return f"there are {size} kinds of tokens, and cuDNN is given up to {MOST_TOKENS}"
    if _on_mesh((params, carries, xs)):
        return "this is for a mesh of devices, and cuDNN runs on one"
    if not is_available():
        return f"JAX finds no NVIDIA device with cuDNN, only {jax.default_backend()}"
    return None


def is_available() -> bool:
    """Whether this process has a CUDA device, and can call cuDNN.

    Tracing the call asks cuDNN for the sizes of its buffers, which needs both. A process that
    compiles for devices that it does not have cannot, so that `auto` is the deferred engine there.
    """
    try:
        jax.devices("cuda")
        zeros = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 1, 1), *[(1, 1, 1)] * 2, (16,))]
        jax.eval_shape(
            lambda *args: _call(Sizes(1, 1, 1, 1), False, *args, jnp.ones(1, int)), *zeros
        )
    except (RuntimeError, AttributeError):  # no such devices; no libcudnn; no plugin for CUDA
        return False
    return True


def apply(
    engine: str,
    ours: Function,
    params: Sequence[Params],
    carries: Sequence[LSTMCarry],
    xs: Array,
    mask: Array | None,
    *,
    directions: int = 1,
) -> tuple[tuple[LSTMCarry, ...], Array]:
    """`lstm` where engine is "cudnn"; with "auto", `ours` on other platforms and under vmap.

    Args:
      ours: ((params, carries, vectors), (tokens, mask)) -> (carries, ys); vectors or tokens are
        None.
      params, carries, xs, mask, directions: see `lstm`.
    """
    floats, others = (params, carries, xs), (None, mask)
    if _are_tokens(xs):
        floats, others = (params, carries, None), (xs, mask)
    theirs = functools.partial(_lstm_of, directions)
    return theirs(floats, others) if engine == "cudnn" else either(ours, theirs, floats, others)


def deferred(
    cells: Sequence[Cell], floats: tuple, others: tuple
) -> tuple[tuple[Carry, ...], Array]:
    """The deferred engine on a stack of layers, as `apply` takes it."""
    (params, carries, vectors), (tokens, mask) = floats, others
    xs, new = tokens if vectors is None else vectors, []
    for cell, p, carry in zip(cells, params, carries, strict=True):
        carry, xs, _ = run(cell, p, carry, Inputs(xs, mask=mask))
        new.append(carry)
    return tuple(new), xs


def _lstm_of(directions: int, floats: tuple, others: tuple) -> tuple[tuple[LSTMCarry, ...], Array]:
    (params, carries, vectors), (tokens, mask) = floats, others
    xs = tokens if vectors is None else vectors
    return lstm(params, carries, xs, mask, directions=directions)


def lstm(
    params: Sequence[Params],
    carries: Sequence[LSTMCarry],
    xs: Array,
    mask: Array | None = None,
    *,
    directions: int = 1,
) -> tuple[tuple[LSTMCarry, ...], Array]:
    """Layers of LSTMs by cuDNN, on a CUDA device.

    Of two directions, the backward one begins at each example's last step, and a layer reads the
    outputs of both directions of the layer below, concatenated.

    Whether float32 products are rounded to TF32 follows `jax_default_matmul_precision`: unset, they
    are, as XLA's are. Under vmap, members run one after the other.

    Args:
      params, carries: of LSTMs of one width M, layer by layer; of two directions, forward first.
      xs: float32 [T, B, I], or tokens [T, B], which become one-hot vectors [T, B, I].
      mask: bool [T, B] or None: the steps within each example's length.
      directions: 1 or 2.

    Returns:
      (carries, ys [T, B, directions M]): the states after each example's last input (backward:
      after its first), and the outputs, zero beyond its length.
    """
    (T, B), M = xs.shape[:2], carries[0].memory.shape[-1]
    size = params[0]["input"]["kernel"].shape[0]
    if _are_tokens(xs):
        xs = _one_hot(xs, size)
    lengths = jnp.full((B,), T) if mask is None else jnp.sum(mask, axis=0)
    h, c = (jnp.stack(leaves) for leaves in zip(*carries, strict=True))
    ys, h, c = _call(
        Sizes(size, M, len(params) // directions, directions),
        jax.config.jax_default_matmul_precision in TF32,
        jnp.swapaxes(xs, 0, 1),
        h,
        c,
        flat_weights(params),
        jnp.maximum(lengths, 1),
    )
    new, ys = tuple(map(LSTMCarry, h, c)), jnp.swapaxes(ys, 0, 1)
    if mask is None:
        return new, ys
    # An example of length 0 was given length 1, the least that cuDNN takes.
    return select(mask[0], new, tuple(carries)), select(mask, ys, jnp.zeros_like(ys))


def flat_weights(params: Sequence[Params]) -> Array:
    """All weights as one vector: W and U of each layer, then two biases of each: b and zero."""
    matrices, biases = [], []
    for p in params:
        W, U, b = _weights(p)
        matrices += [W.T.ravel(), U.T.ravel()]
        biases += [b, jnp.zeros_like(b)]
    return jnp.concatenate(matrices + biases)


def _weights(params: Params) -> tuple[Array, Array, Array]:
    return params["input"]["kernel"], params["recurrent"]["kernel"], params["recurrent"]["bias"]


def _one_hot(tokens: Array, number: int) -> Array:
    """Tokens as `linear` reads them: -1 is the zero vector; others outside [0, number) are NaN."""
    tokens = widened(tokens)
    known = ((tokens >= -1) & (tokens < number))[..., None]
    vectors = jax.nn.one_hot(tokens, number, dtype=jnp.float32)
    return jnp.where(known, vectors, np.float32(np.nan))


def _on_mesh(arrays: PyTree) -> bool:
    """Whether this is traced for a mesh, or arrays are on one; not by `in_shardings` of a jit."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(arrays)]
    return not all(mesh.empty for mesh in (jax.sharding.get_abstract_mesh(), *meshes))


def _are_tokens(xs: Array) -> bool:
    return jnp.issubdtype(xs.dtype, jnp.integer)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _call(
    sizes: Sizes, tf32: bool, x: Array, h: Array, c: Array, weights: Array, ends: Array
) -> tuple[Array, Array, Array]:
    """`jax.experimental.rnn.lstm`; under vmap, which it lacks, one call after the other.

    Args:
      tf32: whether products may be rounded.
      x: [B, T, I]; h, c: [layers directions, B, M].
      ends: int [B], each in [1, T].
    """
    call = functools.partial(rnn.lstm, **_settings(sizes, tf32))
    return sequential_vmap(call)(x, h, c, weights, ends.astype(jnp.int32))


def _call_fwd(sizes: Sizes, tf32: bool, *args: Array) -> tuple:
    call = functools.partial(rnn.lstm_fwd, **_settings(sizes, tf32))
    return sequential_vmap(call)(*args[:-1], args[-1].astype(jnp.int32))


def _call_bwd(sizes: Sizes, tf32: bool, residuals: tuple, cotangents: tuple) -> tuple:
    call = functools.partial(rnn.lstm_bwd, *_settings(sizes, tf32).values())
    return *sequential_vmap(lambda *x: call(*x)[:-1])(residuals, cotangents), None


_call.defvjp(_call_fwd, _call_bwd)


def _settings(sizes: Sizes, tf32: bool) -> dict[str, Any]:
    """By the names and in the order of the arguments of `jax.experimental.rnn.lstm`."""
    return {
        "input_size": sizes.inputs,
        "hidden_size": sizes.features,
        "num_layers": sizes.layers,
        "dropout": 0.0,
        "bidirectional": sizes.directions == 2,
        "precision": lax.Precision.HIGH if tf32 else lax.Precision.HIGHEST,
    }
