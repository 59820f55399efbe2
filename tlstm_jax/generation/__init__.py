"""Generation: token by token, frame by frame, and row by row.

A network generates through `token_step` alone: each token passes every location of a tensorized
cell once, in waves, with the same numbers as a run over the entire sequence.
"""

from tlstm_jax.generation.frames import rollout
from tlstm_jax.generation.rows import draw_binary, generate_rows
from tlstm_jax.generation.tokens import generate, read, sample

__all__ = ["draw_binary", "generate", "generate_rows", "read", "rollout", "sample"]
