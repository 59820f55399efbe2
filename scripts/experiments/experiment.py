"""What an experiment is, and its runs: sweeps over seeds, in folders of their own."""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlstm_jax import zoo
from tlstm_jax.names import accepted
from tlstm_jax.runs.directory import RunDirectory, read_json
from tlstm_jax.runs.settings import train_settings
from tlstm_jax.runs.starts import read_starts
from tlstm_jax.sweeps.search import grid

Flags = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A task, and the models trained on it.

    Attributes:
      title: of its section and its picture.
      flags: of the task and of training, the same for every model.
      models: label -> flags of the model, and what it needs beside these.
      metric: of the results that the table has.
      heading: of the metric's column.
      scale: what the metric is multiplied with.
      split: "test", or "valid" of what is compared in order to choose.
      seeds: of each model, trained as one.
      search: setting -> values; of those settings that a model has, every combination is trained
        from every seed, by successive halving, and the best on the validation split counts.
      halving: the flags of successive halving.
      published: label -> what the paper reports of that model; {}: no such column.
      target: heading of the samples to the task's target; "": no such column.
      longer: heading of a column -> flags with which a run is evaluated once more.
      drawn: labels of the models whose curves are drawn; (): all.
      picture: of those that scripts.visualize draws, the one of the first seed's run; "" for none.
      papers: what a paper reports of the task, in a sentence; "" for none.
    """

    title: str
    flags: Flags
    models: Mapping[str, Flags]
    metric: str
    heading: str
    scale: float = 1.0
    split: str = "test"
    seeds: tuple[int, ...] = (0, 1)
    search: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    halving: Flags = dataclasses.field(default_factory=dict)
    published: Mapping[str, str] = dataclasses.field(default_factory=dict)
    target: str = ""
    longer: Mapping[str, Flags] = dataclasses.field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    picture: str = ""
    papers: str = ""


class Run(NamedTuple):
    """A model of an experiment, trained from all seeds: a sweep of scripts.sweep.

    Attributes:
      name: of the experiment.
      model: label of the model.
      folder: of the sweep; its name, behind that of the experiment, is the run's.
    """

    name: str
    experiment: Experiment
    model: str
    folder: pathlib.Path

    @property
    def row(self) -> str:
        """EXPERIMENT/MODEL, in small letters, digits and dashes."""
        return f"{self.name}/{self.folder.name}"

    @property
    def flags(self) -> dict[str, Any]:
        return {**self.experiment.flags, **self.experiment.models[self.model]}

    @property
    def over(self) -> dict[str, tuple[Any, ...]]:
        """What the sweep is over: what is searched of the model's settings, and the seeds."""
        known = zoo.model_settings(self.flags["model"]).keys() | train_settings().keys()
        searched = {k: v for k, v in self.experiment.search.items() if k in known}
        return {**searched, "seed": self.experiment.seeds}

    @property
    def directories(self) -> list[RunDirectory]:
        """All runs of the sweep that have begun."""
        return [RunDirectory(folder) for folder in sorted(self.folder.glob("members/*"))]

    @property
    def members(self) -> list[RunDirectory]:
        """The runs of the seeds that have begun, with the setting that the search chose.

        While the search goes on, with its first.
        """
        first = self._first
        return self.directories[first : first + len(self.experiment.seeds)]

    @property
    def chosen(self) -> dict[str, Any]:
        """What the search chose; {} if there was none, or while it goes on."""
        point = grid(self.over)[self._first]
        return {k: v for k, v in point.items() if k != "seed" and self.is_trained}

    @property
    def _first(self) -> int:
        """The number of the first seed's member: seeds vary fastest in a sweep."""
        if not self.is_trained or self.over.keys() == {"seed"}:
            return 0
        with open(self.folder / "settings.csv", newline="") as file:
            best = int(next(csv.DictReader(file))["best_member"])  # the best setting is the first
        number = len(self.experiment.seeds)
        return best // number * number

    @property
    def is_trained(self) -> bool:
        """Whether all seeds are: the table of the sweep is written last."""
        return (self.folder / "results.csv").is_file()

    @property
    def results(self) -> list[dict[str, Any]]:
        """Of the seeds that have some."""
        return [read_json(m.results) for m in self.members if m.results.is_file()]

    @property
    def minutes(self) -> float:
        """Of all seeds together, and of what was searched: a member's time is its share."""
        return sum(last_record(member).get("seconds", 0.0) for member in self.directories) / 60

    @property
    def trained_on(self) -> list[str]:
        """The devices on which its seeds were trained, with the commits."""
        starts = [start for member in self.members for start in read_starts(member)]
        places = (" ".join(filter(None, (s["device"], s["commit"]))) for s in starts)
        return list(dict.fromkeys(places))

    def evaluations(self, n: int) -> list[pathlib.Path]:
        """Where the n-th evaluation at other sizes of each seed is kept."""
        return [self.folder / f"evaluation-{n}-{m.path.name}.json" for m in self.members]

    @property
    def pictures(self) -> pathlib.Path:
        return self.folder / "pictures"

    @property
    def state(self) -> str:
        """How far it is, in words."""
        if self.is_complete:
            return "finished"
        if not self.members:
            return "not begun"
        steps = [last_record(member).get("step", 0) for member in self.members]
        return f"step {min(steps):,} of {self.flags['num_steps']:,}"

    @property
    def is_complete(self) -> bool:
        """Whether it is trained, evaluated and drawn."""
        evaluated = (
            file.is_file()
            for n in range(len(self.experiment.longer))
            for file in self.evaluations(n)
        )
        drawn = self.pictures.is_dir() or not self.experiment.picture
        return self.is_trained and all(evaluated) and drawn


def last_record(member: RunDirectory) -> dict[str, Any]:
    """The last report of a run; {} if there is none."""
    records = member.read_metrics()
    return records[-1] if records else {}


def runs_of(
    workdir: pathlib.Path, experiments: Mapping[str, Experiment], only: Sequence[str] = ()
) -> list[Run]:
    """The runs of experiments, in their order.

    Args:
      workdir: under which they are.
      experiments: by name.
      only: names of experiments, or of runs of theirs; all if there are none.

    Raises:
      ValueError: a name is neither.
    """
    runs = []
    for name, experiment in experiments.items():
        for model in experiment.models:
            words = re.sub(r"(?<!\w)-(?=\d)", "minus ", model.lower())
            folder = workdir / name / "-".join(re.findall("[a-z0-9]+", words))
            runs.append(Run(name, experiment, model, folder))
    rows = {run.row for run in runs}
    for name in only:
        if name not in experiments and name not in rows:
            raise ValueError(f"only is {name!r}; {accepted(name, experiments)}, and rows of --list")
    return [run for run in runs if not only or {run.name, run.row} & set(only)]
