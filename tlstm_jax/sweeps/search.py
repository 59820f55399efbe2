"""The search of a sweep: grids, random search, successive halving, means over seeds."""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Floats between `low` and `high`, for random search."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self)

    def draw(self, generator: np.random.Generator) -> float:
        return float(generator.uniform(self.low, self.high))


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Floats between `low` > 0 and `high` whose logarithm is uniform, for random search."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self)
        if self.low <= 0:
            raise ValueError(f"low is {self.low}; accepted by LogUniform are numbers > 0")

    def draw(self, generator: np.random.Generator) -> float:
        return float(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))


Values = Iterable[Any] | Uniform | LogUniform
Space = Mapping[str, Values]  # a setting's name -> the values to try


def grid(space: Space) -> list[dict[str, Any]]:
    """All combinations; the last name's values vary fastest.

    Raises:
      ValueError: a setting without values, or with a range.
    """
    for name, values in space.items():
        if isinstance(values, Uniform | LogUniform):
            raise ValueError(
                f"{name} is {values}, a range for random search; accepted in a grid are values"
            )
    choices = {name: _choices(name, values) for name, values in space.items()}
    return [
        dict(zip(choices, point, strict=True)) for point in itertools.product(*choices.values())
    ]


def random_search(space: Space, samples: int, seed: int = 0) -> list[dict[str, Any]]:
    """`samples` random points: a number of each range, one of each list of values.

    Args:
      space: if it has "seed", every point is repeated with each of its values.
      samples: the number of points.
      seed: of the search itself.
    """
    if not isinstance(samples, numbers.Integral) or samples < 1:
        raise ValueError(f"samples is {samples}; accepted are integers >= 1")
    generator = np.random.default_rng(seed)
    choices = {
        name: values if isinstance(values, Uniform | LogUniform) else _choices(name, values)
        for name, values in space.items()
    }
    seeds = [{"seed": value} for value in choices.pop("seed")] if "seed" in choices else [{}]

    def draw(values: Any) -> Any:
        if isinstance(values, list):
            return values[int(generator.integers(len(values)))]
        return values.draw(generator)

    points = [{name: draw(values) for name, values in choices.items()} for _ in range(samples)]
    return [point | seed for point in points for seed in seeds]


@dataclasses.dataclass(frozen=True)
class Halving:
    """Successive halving: at steps min_steps * factor^n, only the best 1 / factor continue.

    Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization", AISTATS 2016.

    Attributes:
      factor: >= 2.
      min_steps: of the first rung; a multiple of the training's eval_every.
    """

    factor: int
    min_steps: int

    def __post_init__(self) -> None:
        for name, least in (("factor", 2), ("min_steps", 1)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < least:
                raise ValueError(f"{name} is {value}; accepted are integers >= {least}")

    def rungs(self, num_steps: int, eval_every: int) -> list[int]:
        """The steps at which members are dropped, and the last step."""
        if self.min_steps % eval_every:
            raise ValueError(
                f"min_steps is {self.min_steps}; accepted are multiples of eval_every, {eval_every}"
            )
        rungs = []
        while (rung := self.min_steps * self.factor ** len(rungs)) < num_steps:
            rungs.append(rung)
        return [*rungs, num_steps]

    def survivors(
        self, scores: Mapping[int, float], settings: Sequence[Sequence[int]] | None = None
    ) -> list[int]:
        """The members that continue, in ascending order.

        Args:
          scores: higher is better, NaN is worst.
          settings: members that differ only in seeds, which continue together, by their mean. None:
            each member is a setting.
        """
        settings = [[n] for n in scores] if settings is None else settings
        settings = [left for members in settings if (left := [n for n in members if n in scores])]
        means = [float(np.mean([scores[n] for n in members])) for members in settings]
        order = sorted(range(len(settings)), key=lambda i: (math.isnan(means[i]), -means[i]))
        kept = order[: math.ceil(len(settings) / self.factor)]
        return sorted(n for i in kept for n in settings[i])


class Setting(NamedTuple):
    """Members of a sweep that differ only in their seeds, and their scores."""

    point: dict[str, Any]  # what they have in common
    members: tuple[int, ...]
    mean: float  # of the scores of members that have one; NaN if none has
    spread: float  # their sample standard deviation; NaN of fewer than two
    best: int | None  # the member with the best score
    failed: int  # members without a score


def by_setting(points: Sequence[Mapping[str, Any]]) -> list[tuple[int, ...]]:
    """The indices of points that differ only in "seed"."""
    found: dict[str, list[int]] = {}
    for n, point in enumerate(points):
        key = repr(sorted((name, value) for name, value in point.items() if name != "seed"))
        found.setdefault(key, []).append(n)
    return [tuple(members) for members in found.values()]


def over_seeds(points: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> list[Setting]:
    """Mean and spread over the seeds of every setting.

    Args:
      points: of N members.
      scores: [N], higher is better; NaN: none.
    """

    def setting(members: tuple[int, ...]) -> Setting:
        point = {name: value for name, value in points[members[0]].items() if name != "seed"}
        there = [n for n in members if not math.isnan(scores[n])]
        numbers = [float(scores[n]) for n in there]
        mean = float(np.mean(numbers)) if numbers else math.nan
        spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan
        best = max(there, key=lambda n: scores[n], default=None)
        return Setting(point, members, mean, spread, best, len(members) - len(there))

    return [setting(members) for members in by_setting(points)]


def ranked(settings: Sequence[Setting]) -> list[Setting]:
    """The best mean first; settings of which a member has no score come last."""
    return sorted(
        settings,
        key=lambda s: (math.isnan(s.mean), s.failed > 0, -s.mean if s.best is not None else 0),
    )


def chunks(members: Sequence[int], size: int | None) -> list[list[int]]:
    """The members in chunks of nearly equal sizes, at most `size`; one chunk if None."""
    if size is not None and size < 1:
        raise ValueError(f"chunk is {size}; accepted are integers >= 1")
    if not members:
        return []
    number = 1 if size is None else math.ceil(len(members) / size)
    return [chunk.tolist() for chunk in np.array_split(np.array(members), number)]


def _choices(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} is {values!r}; accepted is a list of values, or a range")
    choices = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not choices:
        raise ValueError(f"{name} has no values; accepted is at least one")
    for n, choice in enumerate(choices):
        if choice in choices[:n]:
            raise ValueError(f"{name} has {choice} twice; accepted are distinct values")
    return choices


def _check_range(range_: Uniform | LogUniform) -> None:
    if not 0 < range_.high - range_.low < math.inf:
        raise ValueError(
            f"low is {range_.low}, high is {range_.high}; accepted is low < high, "
            "with a finite difference"
        )
