"""Training: the loop, its settings, evaluation; import `checkpointing` (Orbax) by name."""

from tlstm_jax.training.best import Best, keep_best
from tlstm_jax.training.divergence import NonFiniteError
from tlstm_jax.training.evaluation import evaluate
from tlstm_jax.training.loop import (
    NO_OVERRIDES,
    Overrides,
    Report,
    TrainState,
    abstract_state,
    check_target,
    eval_key,
    fit,
    init_state,
    run_key,
    train_call,
    train_step,
)
from tlstm_jax.training.progress import Progress
from tlstm_jax.training.settings import TrainSettings

__all__ = [
    "NO_OVERRIDES",
    "Best",
    "NonFiniteError",
    "Overrides",
    "Progress",
    "Report",
    "TrainSettings",
    "TrainState",
    "abstract_state",
    "check_target",
    "eval_key",
    "evaluate",
    "fit",
    "init_state",
    "keep_best",
    "run_key",
    "train_call",
    "train_step",
]
