"""Losses, gradients and metrics that are not finite, which end a training."""

import math
from collections.abc import Mapping


class NonFiniteError(FloatingPointError):
    """The loss, the gradient or an evaluation stopped being finite.

    Attributes:
      step: the first step (from 1) at which it was not, or after which it was evaluated.
    """

    def __init__(self, step: int, metric: str | None = None) -> None:
        super().__init__(
            f"the loss or the gradient is not finite at step {step}"
            if metric is None
            else f"the {metric} of the evaluation after step {step} is not finite"
        )
        self.step = step


def check_evaluation(step: int, metrics: Mapping[str, float]) -> None:
    """Raises NonFiniteError if a metric is not finite, which makes the others meaningless.

    An accuracy may look fine: the argmax of logits that are NaN is 0, which may be the right class.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NonFiniteError(step, name)
