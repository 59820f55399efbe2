"""The members of a sweep, and the file that a sweep resumes from."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tlstm_jax import zoo
from tlstm_jax.network import Network
from tlstm_jax.runs import settings
from tlstm_jax.runs.directory import read_json, write_json
from tlstm_jax.runs.files import is_unclaimed
from tlstm_jax.runs.own_code import check_named
from tlstm_jax.runs.settings import RunSettings
from tlstm_jax.scripts.sweep.space import MOST_MEMBERS
from tlstm_jax.sweeps.groups import Group, plan
from tlstm_jax.sweeps.search import Halving, grid, random_search
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task


@dataclasses.dataclass(frozen=True)
class Sweep:
    """All settings that determine a sweep; plain values, for JSON.

    Attributes:
      points: each member's values of the swept settings.
      runs: each member's run, as it would be alone.
      halving: of successive halving; None: all members are trained to the end.
    """

    points: list[dict[str, Any]]
    runs: list[RunSettings]
    halving: Halving | None = None

    @classmethod
    def make(
        cls,
        given: Mapping[str, Any],
        preset: str | None,
        space: Mapping[str, Any],
        *,
        samples: int | None = None,
        search_seed: int = 0,
        halving: int | None = None,
        halving_steps: int | None = None,
    ) -> "Sweep":
        """A sweep from flags; every member's settings are checked.

        Raises:
          ValueError: a flag or a member's setting is not accepted.
        """
        if not space:
            raise ValueError(
                "over is not given; accepted is name=values, as in learning_rate=1e-3,3e-3"
            )
        if twice := sorted(set(space) & set(given)):
            raise ValueError(f"--{twice[0]} is given and swept over; accepted is one of the two")
        if (halving is None) != (halving_steps is None):
            raise ValueError(
                f"halving is {halving}, halving_steps is {halving_steps}; accepted are both or none"
            )
        if samples is None and search_seed:
            raise ValueError(f"search_seed is {search_seed}; accepted without samples is 0")
        if samples is not None and not set(space) - {"seed"}:
            raise ValueError(
                f"samples is {samples}; accepted where only the seed is swept over is None"
            )
        lengths = [
            len(values)
            for name, values in space.items()
            if isinstance(values, list) and (samples is None or name == "seed")
        ]
        if (number := math.prod(lengths) * (samples or 1)) > MOST_MEMBERS:
            raise ValueError(
                f"the sweep has {number:,} members; accepted are up to {MOST_MEMBERS:,}"
            )
        points = grid(space) if samples is None else random_search(space, samples, search_seed)
        runs = [settings.resolve({**given, **point}, preset) for point in points]
        runs = _without_idle(runs, space)
        trainings = [run.check() for run in runs]
        if halving is not None:
            training = trainings[0]
            if halving_steps % training.eval_every or halving_steps >= training.num_steps:
                raise ValueError(
                    f"halving_steps is {halving_steps}; accepted are multiples of eval_every, "
                    f"{training.eval_every}, below num_steps, {training.num_steps}"
                )
        sweep = cls(points, runs, None if halving is None else Halving(halving, halving_steps))
        sweep.rungs()
        return sweep

    @classmethod
    def read(cls, workdir: pathlib.Path, named: Collection[str] = ()) -> "Sweep":
        """The sweep in a folder.

        Args:
          named: the user's own tasks and models, as for `RunDirectory.read_config`.

        Raises:
          FileNotFoundError: there is none.
          ValueError: its file cannot be read, or names code that is not named.
        """
        path = workdir / "sweep.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{workdir} holds no sweep.json; accepted is the folder of a sweep"
            )
        there = read_json(path)
        try:
            for run in there["runs"]:
                check_named(path, run, named)
        except (KeyError, TypeError, AttributeError) as e:
            raise ValueError(f"{path} is damaged: {e}; accepted is what a sweep wrote") from None
        try:
            halving = None if there["halving"] is None else Halving(**there["halving"])
            runs = [RunSettings(**run) for run in there["runs"]]
            pairs = zip(there["points"], runs, strict=True)
            points = [zoo.current_names(run.model, point) for point, run in pairs]
            sweep = cls(points, runs, halving)
            sweep._check()
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise ValueError(f"{path} is damaged: {e}; accepted is what a sweep wrote") from None
        return sweep

    def _check(self) -> None:
        """Raises ValueError unless the parts belong together, as those from flags do."""
        if not self.points or len(self.points) != len(self.runs):
            raise ValueError(f"{len(self.points)} points, {len(self.runs)} runs")
        for point, run in zip(self.points, self.runs, strict=True):
            run.check()
            given = {"model": run.model, **run.task_settings}
            given |= run.model_settings | run.train_settings
            for name, value in point.items():
                if name not in given or (name not in settings.PATHS and given[name] != value):
                    raise ValueError(f"a point's {name} is not its run's")
            if point.keys() != self.points[0].keys() or run.task != self.runs[0].task:
                raise ValueError("members differ in their task, or in the names of their points")
        self.rungs()

    def rungs(self) -> set[int]:
        """The steps after which members are dropped."""
        if self.halving is None:
            return set()
        training = self.runs[0].check()
        return set(self.halving.rungs(training.num_steps, training.eval_every))

    def is_taken(self, workdir: pathlib.Path) -> bool:
        """Whether a folder holds something other than this very sweep."""
        path = workdir / "sweep.json"
        if path.is_file():
            return not self._is_in(path)
        return os.path.lexists(workdir) and not is_unclaimed(workdir, path)

    def _is_in(self, path: pathlib.Path) -> bool:
        own = json.loads(json.dumps(dataclasses.asdict(self)))
        return _unplaced(own) == _unplaced(read_json(path))

    def claim(self, workdir: pathlib.Path) -> None:
        """Makes the folder, or checks that it holds this very sweep or nothing.

        Raises:
          ValueError: it holds another sweep, or something else.
        """
        path = workdir / "sweep.json"
        if path.is_file():
            if not self._is_in(path):
                raise ValueError(
                    f"{workdir} holds another sweep; accepted are the same settings or another "
                    "--workdir"
                )
        elif workdir.exists() and not is_unclaimed(workdir, path):
            raise ValueError(
                f"{workdir} exists and holds no sweep; accepted is a new or empty folder"
            )
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, dataclasses.asdict(self))

    def groups(self) -> list[Group]:
        """What is trained together; reads the data."""
        tasks: dict[str, Task] = {}  # of equal settings are read once

        def make(n: int) -> tuple[Task, Network, TrainSettings]:
            run = self.runs[n]
            key = repr(sorted(run.task_settings.items()))
            task, network, training = run.make(tasks.get(key))
            return tasks.setdefault(key, task), network, training

        return plan(self.points, make, lambda n: zoo.traced_settings(self.runs[n].model))

    def units_per_step(self, groups: Sequence[Group]) -> list[int]:
        """What each member counts in a step: samples or characters."""
        tasks = {n: group.task for group in groups for n in group.members}
        return [tasks[n].units_per_step for n in range(len(self.points))]


def _without_idle(runs: list[RunSettings], space: Mapping[str, Any]) -> list[RunSettings]:
    """The runs; a setting that has an effect only in some members is off in the others.

    So a sweep can be over dropout=0,0.1 with --variational_dropout, say.
    """
    idle = [zoo.idle_settings(run.model, run.model_settings) for run in runs]
    always = set(idle[0]).intersection(*idle)
    return [
        dataclasses.replace(
            run,
            model_settings={
                **run.model_settings,
                **{k: v for k, (v, _) in of_run.items() if k not in always and k not in space},
            },
        )
        for run, of_run in zip(runs, idle, strict=True)
    ]


def _unplaced(plan: Any) -> Any:
    """A sweep's JSON without the paths of its data: each member compares their checksum."""
    try:
        for run in plan["runs"]:
            for name in settings.PATHS & run["task_settings"].keys():
                del run["task_settings"][name]
    except (KeyError, TypeError, AttributeError):
        return None  # damaged, and so equal to nothing
    return plan
