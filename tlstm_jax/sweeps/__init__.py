"""Many runs trained as one: grids, random search, successive halving, and seeds."""

from tlstm_jax.sweeps.members import fit_members
from tlstm_jax.sweeps.search import Halving, LogUniform, Uniform, grid, random_search
from tlstm_jax.sweeps.sweeping import Results, sweep

__all__ = [
    "Halving",
    "LogUniform",
    "Results",
    "Uniform",
    "fit_members",
    "grid",
    "random_search",
    "sweep",
]
