"""How a network is trained: steps, learning rate, optimizer; as plain values."""

import dataclasses
import math
import numbers
from typing import Any

import jax
import optax

from tlstm_jax.overrides import plain
from tlstm_jax.training.cayley import with_cayley
from tlstm_jax.typing import PyTree

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine")
MULTIPLES = ("num_steps", "eval_every", "checkpoint_every")  # of steps_per_call
LEAST_RATE = 2.0**-126  # float32's least normal number; less is 0 on most devices
LEAST_NORM = 1e-8  # Adam's epsilon, next to which gradients of smaller norms vanish


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a network is trained.

    Attributes:
      num_steps: optimizer steps of the run.
      learning_rate: peak learning rate, at least LEAST_RATE.
      schedule: "constant", or "cosine": decay to zero at num_steps.
      warmup_steps: linear warm-up from zero, with either schedule; less than num_steps.
      optimizer: "adam" or "adamw".
      weight_decay: AdamW's decoupled weight decay; 0 with Adam, which has none.
      clip_norm: gradients are clipped at this global norm, at least LEAST_NORM.
      eval_every, checkpoint_every: steps between evaluations on the validation split, and
        checkpoints.
      steps_per_call: steps in one compiled call; must divide num_steps, eval_every and
        checkpoint_every. Runs stop and save only between calls. None: the greatest common divisor
        of these and 10.
      patience: stop after this many evaluations in a row without a better metric; None: never.
      stop_at_target: stop once two evaluations in a row reach the task's target.
      seed: of the parameters, batches and evaluation samples; an int32.

    Raises:
      ValueError: a setting is out of these bounds, or of another type.

    Example:
      >>> from tlstm_jax import TrainSettings
      >>> settings = TrainSettings(num_steps=2000, learning_rate=3e-3, schedule="cosine")
      >>> settings.steps_per_call
      10
    """

    num_steps: int = 1000
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_steps: int = 0
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    eval_every: int = 100
    checkpoint_every: int = 500
    steps_per_call: int | None = None
    patience: int | None = None
    stop_at_target: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        plain(self)
        multiples = {name: getattr(self, name) for name in MULTIPLES}
        given = {} if self.steps_per_call is None else {"steps_per_call": self.steps_per_call}
        for name, value in (multiples | given).items():
            if not _is_integer(value, 1):
                raise ValueError(f"{name} is {value}; accepted are integers >= 1")
        if self.steps_per_call is None:
            object.__setattr__(self, "steps_per_call", math.gcd(10, *multiples.values()))
        for name in MULTIPLES:
            if getattr(self, name) % self.steps_per_call:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; accepted are multiples of "
                    f"steps_per_call, {self.steps_per_call}"
                )
        for name, accepted in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in accepted:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; accepted are {', '.join(accepted)}"
                )
        if not _is_integer(self.warmup_steps, 0, self.num_steps - 1):
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}; accepted are 0 to num_steps - 1 "
                f"({self.num_steps - 1})"
            )
        bounds = {"learning_rate": LEAST_RATE, "clip_norm": LEAST_NORM, "weight_decay": 0.0}
        for name, least in bounds.items():
            if not _is_number(value := getattr(self, name), least):
                raise ValueError(
                    f"{name} is {value!r}; accepted are finite numbers of float32, {least:.2g} or "
                    "more"
                )
        if self.optimizer == "adam" and self.weight_decay:
            raise ValueError(
                f"weight_decay is {self.weight_decay}; accepted with optimizer adam is 0 (adamw "
                "decays)"
            )
        if self.patience is not None and not _is_integer(self.patience, 1):
            raise ValueError(f"patience is {self.patience}; accepted are None and integers >= 1")
        if not _is_integer(self.seed, -(2**31), 2**31 - 1):
            raise ValueError(f"seed is {self.seed}; accepted are integers of 32 bits")

    def learning_rate_schedule(self) -> optax.Schedule:
        """Step -> learning rate."""
        shape = optax.constant_schedule(1.0)
        if self.schedule == "cosine":
            start = 0.0 if self.warmup_steps else 1.0
            shape = optax.warmup_cosine_decay_schedule(
                start, 1.0, self.warmup_steps, self.num_steps
            )
        elif self.warmup_steps:
            shape = optax.linear_schedule(0.0, 1.0, self.warmup_steps)
        return lambda step: self.learning_rate * shape(step)

    def make_optimizer(self, params: PyTree) -> optax.GradientTransformation:
        """Clipping by global norm, then Adam or AdamW; a Cayley step for unitary matrices.

        Args:
          params: the parameters to be trained, or their shapes.

        Raises:
          ValueError: weight_decay is traced (`overrides.override`), and the optimizer is Adam.
        """
        if self.optimizer == "adam" and isinstance(self.weight_decay, jax.Array):
            raise ValueError("weight_decay is traced; accepted with optimizer adam is 0")
        rate = self.learning_rate_schedule()
        rule = (
            optax.adam(rate)
            if self.optimizer == "adam"
            else optax.adamw(rate, weight_decay=self.weight_decay)
        )
        rule = with_cayley(rule, rate, params)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), rule)


def _is_integer(value: Any, least: int, most: float = float("inf")) -> bool:
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return integer and least <= value <= most


def _is_number(value: Any, least: float) -> bool:
    """Whether it is a finite number of float32; NaN is none."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and least <= value < 2.0**128
