"""What a run writes: its settings, metrics, checkpoints and learning curves.

config.json      the settings of the run; a user's own model and task by module, see `read_config`
data.json        a checksum of its data, and its vocabulary
metrics.jsonl    a JSON object for each report: {"step", "samples", "seconds", "train", "valid"}
events.out.*     the same for TensorBoard
checkpoints/     the latest checkpoints and the best
starts.jsonl     a JSON object for each start: {"step", "device", "jax", "commit"}
curves.png       learning curves
lock             held by the program that writes here, see `ownership`
results.json     written when the run is finished: the metrics of the best checkpoint
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import jax
import numpy as np

from tlstm_jax.runs.events import NAME as EVENTS
from tlstm_jax.runs.files import is_unclaimed, replacing
from tlstm_jax.runs.own_code import check_named, own_in
from tlstm_jax.runs.settings import PATHS, RunSettings
from tlstm_jax.typing import Task

_MOST_JSON = 2**22  # bytes of a file, or of one line of metrics; what is written has thousands


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a file of JSON."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: pathlib.Path) -> Any:
    """What a file of JSON holds.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not a file, too long, or not JSON.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; accepted is a file of JSON")
    with path.open("rb") as file:
        content = file.read(_MOST_JSON + 1)
    if len(content) > _MOST_JSON:
        raise ValueError(f"{path} is damaged; accepted are up to {_MOST_JSON:,} bytes of JSON")
    try:
        return _parse(content)
    except ValueError as e:
        raise ValueError(f"{path} is damaged: {e}; accepted is JSON") from e


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content.decode(), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is not a number")


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)


class RunDirectory:
    """The folder of one run, and the paths of its parts."""

    def __init__(self, path: str | pathlib.Path) -> None:
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.data = self.path / "data.json"
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / EVENTS  # their names' prefix
        self.checkpoints = self.path / "checkpoints"
        self.starts = self.path / "starts.jsonl"
        self.curves = self.path / "curves.png"
        self.results = self.path / "results.json"

    def read_config(self, named: Collection[str] = ()) -> RunSettings:
        """The settings of the run in this folder.

        A file may come from a stranger, and importing a module runs it. So a task or model that is
        module:name is imported only if the user `named` it as well, and refused otherwise.

        Args:
          named: the user's own tasks and models, as module:name.

        Raises:
          FileNotFoundError: there is no run.
          ValueError: its settings cannot be read, or need code that is not named.
        """
        config = self._read_config()
        check_named(self.config, config, named)
        try:
            settings = RunSettings(**config)
            settings.check()
        except ValueError as e:
            raise ValueError(f"{self.config} is damaged: {e}") from e
        return settings

    def _read_config(self) -> dict[str, Any]:
        if not self.config.is_file():
            raise FileNotFoundError(
                f"{self.path} holds no config.json; accepted is the folder of a run"
            )
        config = read_json(self.config)
        names = [field.name for field in dataclasses.fields(RunSettings)]
        if not isinstance(config, dict) or sorted(config) != sorted(names):
            raise ValueError(f"{self.config} is damaged; accepted are {', '.join(names)}")
        return config

    def own_code(self) -> dict[str, str]:
        """The "task" and "model" that are module:name; {} if there is no run. Imports nothing.

        Raises:
          ValueError: its settings cannot be read.
        """
        return own_in(self._read_config()) if self.config.is_file() else {}

    def is_taken(self, settings: RunSettings) -> bool:
        """Whether the folder holds something other than a run of these settings.

        Raises:
          ValueError: the settings of the run in it cannot be read.
        """
        if not self.config.is_file():
            return os.path.lexists(self.path) and not is_unclaimed(self.path, self.config)
        try:
            self._check_same(settings, but=set())
        except _OtherRunError:
            return True
        return False

    def claim(self, settings: RunSettings, task: Task) -> None:
        """Makes the folder, or checks that it holds this very run or nothing; writes whose it is.

        Raises:
          ValueError: it holds another run, or something else.
          OSError: it cannot be written.
        """
        if self.config.is_file():
            moves = PATHS if self.data.is_file() else set()  # whose checksum is compared
            self._check_same(settings, but=moves)
            self.check_data(task)
            if not all(task.unit in record for record in self.read_metrics()):
                raise ValueError(
                    f"{self.metrics} is damaged; accepted are lines that count {task.unit}"
                )
        elif self.path.exists() and not is_unclaimed(self.path, self.config):
            raise ValueError(
                f"{self.path} exists and holds no run; accepted is a new or empty folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, dataclasses.asdict(settings))  # first: it tells whose the folder is
        write_json(self.data, _identity(task))

    def _check_same(self, settings: RunSettings, but: set[str]) -> None:
        """Raises _OtherRunError unless a run of these settings can resume here."""
        for part, name in self.own_code().items():  # which is imported only if it is the same
            if name != getattr(settings, part):
                _refuse_other(self.path, part, name, getattr(settings, part))
        there = self.read_config({settings.task, settings.model})
        _check_same(self.path, there, settings, but)

    def check_data(self, task: Task) -> None:
        """Raises ValueError unless the task's data are those that the run began with."""
        if self.data.is_file() and self._read_data()["sha256"] != _identity(task)["sha256"]:
            raise ValueError(
                f"the data of {task.name} differ; accepted are those that the run in {self.path} "
                "began with"
            )

    def read_vocabulary(self) -> tuple[int, ...] | None:
        """The bytes of a text task's tokens; None for other tasks.

        Raises:
          FileNotFoundError, ValueError: data.json is missing or damaged.
        """
        vocabulary = self._read_data()["vocabulary"]
        return None if vocabulary is None else tuple(vocabulary)

    def _read_data(self) -> dict[str, Any]:
        data = read_json(self.data)
        right = isinstance(data, dict) and isinstance(data.get("sha256"), str)
        if not right or not _is_vocabulary(data.get("vocabulary", ())):
            raise ValueError(
                f"{self.data} is damaged; accepted are sha256, a checksum, and vocabulary, null or "
                "ascending bytes"
            )
        return data

    def read_metrics(self, most: int | None = None) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line that a kill left incomplete is dropped.

        Args:
          most: of a longer run, every n-th: about this many with an evaluation, and as many
            without.

        Raises:
          ValueError: a line that is not the last is damaged.
        """
        if not self.metrics.is_file():
            return []
        kinds, number = (_Thinned(most), _Thinned(most)), 0
        with self.metrics.open("rb") as file:
            while line := file.readline(_MOST_JSON):
                try:
                    record = _parse(line)
                except ValueError:
                    if not file.read(1):
                        break
                    record = None
                if not _is_record(record):
                    raise ValueError(
                        f"{self.metrics} is damaged in line {number + 1}; accepted are step, "
                        "seconds and other numbers, and train and valid, names with numbers"
                    )
                kinds["valid" in record].add(number, record)
                number += 1
        return [record for _, record in sorted(kinds[0].kept + kinds[1].kept, key=lambda k: k[0])]


class _Thinned:
    """Every n-th of what is added: all up to `most`, from then on half that number or more."""

    def __init__(self, most: int | None) -> None:
        self.kept: list[tuple[int, dict[str, Any]]] = []
        self._most, self._every, self._added = most, 1, 0

    def add(self, number: int, record: dict[str, Any]) -> None:
        if self._added % self._every == 0:
            self.kept.append((number, record))
        self._added += 1
        if self._most is not None and len(self.kept) > self._most:
            self.kept, self._every = self.kept[::2], 2 * self._every


@functools.lru_cache(maxsize=8)  # for a sweep's members, which share their task
def _identity(task: Task) -> dict[str, Any]:
    """What data.json holds: a checksum of the task's data, and its vocabulary."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(task.data):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return {"sha256": digest.hexdigest(), "vocabulary": task.vocabulary}


def _is_vocabulary(value: Any) -> bool:
    if value is None:
        return True
    bytes_ = isinstance(value, list) and all(type(b) is int and 0 <= b < 256 for b in value)
    return bytes_ and bool(value) and value == sorted(set(value))


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict) or type(value.get("step")) is not int or "seconds" not in value:
        return False
    parts = [value.get(part, {}) for part in ("train", "valid")]
    if not all(isinstance(part, dict) for part in parts):
        return False
    numbers = [v for k, v in value.items() if k not in ("train", "valid")]
    numbers += [v for part in parts for v in part.values()]
    return all(type(n) is float or (type(n) is int and abs(n) < 2**63) for n in numbers)


class _OtherRunError(ValueError):
    """A folder holds a run of other settings."""


def _check_same(path: pathlib.Path, old: RunSettings, new: RunSettings, but: set[str]) -> None:
    """Raises ValueError unless settings `new` can resume a run of `old`; `but` may differ."""
    before, after = _flat(old), _flat(new)
    steps = [part.get("num_steps", 0) for part in (before, after)]
    if after.get("schedule") == "constant" and steps[0] < steps[1]:
        before.pop("num_steps", None), after.pop("num_steps")
    for name in (*before, *after):  # task and model first
        if name not in but and before.get(name) != after.get(name):
            _refuse_other(path, name, before.get(name), after.get(name))


def _refuse_other(path: pathlib.Path, name: str, before: Any, after: Any) -> NoReturn:
    raise _OtherRunError(
        f"{path} holds another run, whose {name} is {before}, not {after}; accepted are the same "
        "settings or another --workdir"
    )


def _flat(settings: RunSettings) -> dict[str, Any]:
    flat = {"task": settings.task, "model": settings.model}
    parts: list[Mapping[str, Any]] = [
        settings.task_settings,
        settings.model_settings,
        settings.train_settings,
    ]
    for part in parts:
        flat |= {k: list(v) if isinstance(v, tuple) else v for k, v in part.items()}
    return flat
