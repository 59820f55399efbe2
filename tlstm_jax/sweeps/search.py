"""What a sweep tries and chooses: grids, seeded random search, successive halving, the mean over seeds."""

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
    """Floats between `low` and `high` > 0 whose logarithm is uniform, for random search."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self)
        if self.low <= 0:
            raise ValueError(f"low is {self.low}; accepted by LogUniform are numbers > 0")

    def draw(self, generator: np.random.Generator) -> float:
        return float(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))


Values = Iterable[Any] | Uniform | LogUniform
Space = Mapping[str, Values]  # a setting's name -> the values to be tried


def grid(space: Space) -> list[dict[str, Any]]:
    """All combinations, the last name's values running fastest.

    Raises:
      ValueError: no values, or a range where there should be values.
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
    """`samples` points: of a range a number, of values one of them; each point with all seeds.

    Args:
      space: with values under "seed", every point is there once for each of them.
      samples: points.
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
    """Successive halving: at steps min_steps * factor^n, only the best 1 / factor go on.

    Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
    2016.

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
        """The members that go on, in their order.

        Args:
          scores: the higher the better, NaN the worst.
          settings: members that are the same but for their seeds: they go on together, by their mean. None:
            every member for itself.
        """
        parts = [[n] for n in scores] if settings is None else settings
        parts = [there for part in parts if (there := [n for n in part if n in scores])]
        means = [float(np.mean([scores[n] for n in part])) for part in parts]
        order = sorted(range(len(parts)), key=lambda i: (math.isnan(means[i]), -means[i]))
        kept = order[: math.ceil(len(parts) / self.factor)]
        return sorted(n for i in kept for n in parts[i])


class Setting(NamedTuple):
    """Members of a sweep that are the same but for their seeds, and how good they are."""

    point: dict[str, Any]  # what they have in common
    members: tuple[int, ...]
    mean: float  # of their scores, of those that have one; NaN where none has
    spread: float  # the standard deviation over members, of a sample; NaN of fewer than two
    best: int | None  # the member with the best score
    failed: int  # members without a score


def by_setting(points: Sequence[Mapping[str, Any]]) -> list[tuple[int, ...]]:
    """The places of points that are the same but for "seed"."""
    parts: dict[str, list[int]] = {}
    for n, point in enumerate(points):
        key = repr(sorted((name, value) for name, value in point.items() if name != "seed"))
        parts.setdefault(key, []).append(n)
    return [tuple(part) for part in parts.values()]


def over_seeds(points: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> list[Setting]:
    """Mean and spread over the seeds of every setting.

    Args:
      points: of N members.
      scores: [N], the higher the better; NaN: none.
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
    """The best mean first; behind them those of which a member has no score."""
    return sorted(
        settings,
        key=lambda s: (math.isnan(s.mean), s.failed > 0, -s.mean if s.best is not None else 0),
    )


def chunks(members: Sequence[int], size: int | None) -> list[list[int]]:
    """The members in parts of at most `size` that are as equal as can be; one part if None."""
    if size is not None and size < 1:
        raise ValueError(f"chunk is {size}; accepted are integers >= 1")
    if not members:
        return []
    number = 1 if size is None else math.ceil(len(members) / size)
    return [part.tolist() for part in np.array_split(np.array(members), number)]


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
            f"low is {range_.low}, high is {range_.high}; accepted is low < high, finitely apart"
        )
