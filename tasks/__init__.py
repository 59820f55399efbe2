"""Tasks: batches, loss mask, metrics and sizes behind one protocol (`tlstm_jax.typing.Task`).

A user's own task inherits `BaseTask`; `catalogue.TASKS` has those of this package.
"""

from tlstm_jax.tasks.base import BaseTask

__all__ = ["BaseTask"]
