"""Gradient descent on unitary matrices, as an Optax transformation.

Wisdom, Powers, Hershey, Le Roux and Atlas, "Full-Capacity Unitary Recurrent Neural Networks", NIPS
2016; the step is Tagare's, "Notes on Optimization on Stiefel Manifolds", 2011:

    A = G W^H - W G^H                                         G = dL/dRe W + i dL/dIm W
    W <- (I + lr/2 A)^-1 (I - lr/2 A) W
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tlstm_jax.typing import Array, PyTree

UNITARY = "unitary"  # the name of such a matrix in a tree of parameters: {"real", "imag" [M, M]}


class CayleyState(NamedTuple):
    count: Array  # int32 scalar: steps done


def cayley(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """The Cayley step for every pair {"real", "imag"} in a tree; W stays unitary.

    The gradients are those of jax.grad with respect to the real and the imaginary part. After the
    step, one Newton-Schulz iteration removes the rounding error.

    Args:
      learning_rate: a number, or a schedule: step -> number.
    """

    def init(params: PyTree) -> CayleyState:
        del params
        return CayleyState(jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: CayleyState, params: PyTree | None = None
    ) -> tuple[PyTree, CayleyState]:
        if params is None:
            raise ValueError("params is None; accepted by the Cayley step are the parameters")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def step(gradient: PyTree, matrix: PyTree) -> PyTree:
            real, imag = _step(*_parts(gradient), *_parts(matrix), rate)
            return {"real": real - matrix["real"], "imag": imag - matrix["imag"]}

        updates = jax.tree.map(step, updates, params, is_leaf=_is_pair)
        return updates, CayleyState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


def is_unitary(path: tuple) -> bool:
    """Whether the parameter at a path of a tree is part of a unitary matrix."""
    return any(getattr(step, "key", None) == UNITARY for step in path)


def with_cayley(
    rule: optax.GradientTransformation, learning_rate: optax.ScalarOrSchedule, params: PyTree
) -> optax.GradientTransformation:
    """`rule`, with the Cayley step for unitary matrices among the parameters, if there are any."""
    kinds = jax.tree_util.tree_map_with_path(
        lambda path, _: "cayley" if is_unitary(path) else "rule", params
    )
    if "cayley" not in jax.tree.leaves(kinds):
        return rule
    return optax.partition({"rule": rule, "cayley": cayley(learning_rate)}, kinds)


def _is_pair(tree: PyTree) -> bool:
    return isinstance(tree, dict) and set(tree) == {"real", "imag"}


def _parts(pair: PyTree) -> tuple[Array, Array]:
    return pair["real"], pair["imag"]


def _step(g_re: Array, g_im: Array, w_re: Array, w_im: Array, rate: Array) -> tuple[Array, Array]:
    G, W = jax.lax.complex(g_re, g_im), jax.lax.complex(w_re, w_im)
    eye = jnp.eye(W.shape[0], dtype=W.dtype)
    A = G @ W.conj().T - W @ G.conj().T
    half = A * jnp.asarray(rate / 2, w_re.dtype).astype(W.dtype)
    W = jnp.linalg.solve(eye + half, (eye - half) @ W)
    W = W @ (3 * eye - W.conj().T @ W) / 2
    return W.real, W.imag
