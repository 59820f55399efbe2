"""Tasks: batches, loss mask, metrics and sizes behind one protocol (`tlstm_jax.typing.Task`).

`BaseTask` is what a task of one's own inherits; `catalogue.TASKS` has those that are here.
"""

from tlstm_jax.tasks.base import BaseTask

__all__ = ["BaseTask"]
