"""The best parameters of a training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.training.loop import Report
from tlstm_jax.typing import Params, State


class Best(NamedTuple):
    """The best evaluation so far, and what it evaluated."""

    params: Params
    model_state: State
    step: int
    valid: dict[str, float]  # its metrics


def keep_best(best: Best | None, report: Report) -> Best | None:
    """The better of the best so far and a report of `fit`; the earlier one if they are equal.

    A pure function, to be called with every report, or folded over the reports:

    >>> import functools
    >>> from tlstm_jax import LSTM, Network, TrainSettings, fit, keep_best
    >>> from tlstm_jax.tasks.memorization import memorization
    >>> task = memorization(num_symbols=2, alphabet_size=3, eval_samples=250)
    >>> network = Network(LSTM(8), task.input_size, task.output_size, tokens=True)
    >>> settings = TrainSettings(num_steps=4, eval_every=2, checkpoint_every=2, steps_per_call=2)
    >>> best = functools.reduce(keep_best, fit(network, task, settings), None)
    >>> sorted(best.valid), best.step in (2, 4)
    (['accuracy', 'loss', 'sequence_accuracy'], True)

    The task's `metric` and `maximize` say what is better. A training that resumes from a report
    continues with the best until then.

    Args:
      best: of the earlier reports; None: there are none.
      report: its state is copied if it is the best: the next call takes its buffers.

    Returns:
      The best; None: nothing was evaluated yet.
    """
    if not report.improved:
        return best
    params, model_state = jax.tree.map(jnp.copy, (report.state.params, report.state.model_state))
    return Best(params, model_state, report.progress.step, report.valid)
