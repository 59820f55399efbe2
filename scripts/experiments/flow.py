"""How far back an untrained network's last output reaches: gradients by its states, drawn."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax import inspection
from tlstm_jax.pictures import make_figure
from tlstm_jax.typing import Array, Cell

LEAST = 1e-7  # added to norms, so that none is 0


def norms(cell: Cell, *, steps: int, batch: int, seeds: int) -> np.ndarray:
    """[steps, P] of a cell with memory: the norm over features of d y / d C(p), after every step.

    The geometric mean over examples and seeds, of inputs from N(0, 1). A cell without a tensor has
    one location.
    """

    @jax.jit
    def logarithms(key: Array) -> Array:
        key, input_key, direction_key = jax.random.split(key, 3)
        params = cell.init(key, 1)
        xs = jax.random.normal(input_key, (steps, batch, 1))
        memory = inspection.state_gradients(cell, params, xs, key=direction_key).memory
        memory = memory[cell.delay : -1].reshape(steps - 1, batch, -1, cell.features)
        return jnp.mean(jnp.log(jnp.linalg.norm(memory, axis=-1) + LEAST), axis=1)

    return np.exp(np.mean([logarithms(jax.random.key(seed)) for seed in range(seeds)], axis=0))


def plot(cells: Mapping[str, Cell], *, steps: int, batch: int = 8, seeds: int = 3) -> Any:
    """A line for each cell, the mean over locations; of the last cell also one for each location."""
    figure = make_figure((6.4, 5.2))
    by_cell, by_location = figure.subplots(2, 1, sharex=True, sharey=True)
    for label, cell in cells.items():
        found = norms(cell, steps=steps, batch=batch, seeds=seeds)
        back = np.arange(len(found), 0, -1)
        by_cell.semilogy(back, np.exp(np.log(found).mean(axis=1)), lw=1.4, label=label)
    for p in range(found.shape[1]):
        by_location.semilogy(back, found[:, p], lw=1.4, label=f"location {p}")
    by_location.set_title(label, fontsize="medium")
    by_location.set_xlabel("steps before the last input")
    by_location.invert_xaxis()
    for axis in (by_cell, by_location):
        axis.set_ylabel("gradient's norm")
        axis.grid(alpha=0.3)
        axis.legend(
            frameon=False, fontsize="small", loc="center", bbox_to_anchor=(0.42, 0.3), ncols=2
        )
    return figure
