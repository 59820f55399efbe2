"""The trainings of the comparison: what is trained, and how a row is made."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax import training, zoo
from tlstm_jax.generation import generate
from tlstm_jax.network import Network, task_sizes
from tlstm_jax.runs.directory import write_json
from tlstm_jax.runs.results import of_longer, or_none
from tlstm_jax.runs.starts import place
from tlstm_jax.scripts.bench.measure import Contender, in_turns
from tlstm_jax.sweeps.groups import Curves, plan, train_groups
from tlstm_jax.sweeps.search import Halving, grid, over_seeds, ranked
from tlstm_jax.tasks.catalogue import TASKS
from tlstm_jax.training import TrainState
from tlstm_jax.training.progress import Progress
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Task

SEARCH: Mapping[str, tuple[float, ...]] = {
    "learning_rate": (1e-3, 2e-3, 4e-3),
    "forget_bias": (-1.0, 1.0, 4.0),  # of models that have one
}
KEPT = 4  # one of so many goes on, at each rung of successive halving
FIRST = 6  # the first rung is at about a sixth of the training
SEEDS = (0, 1, 2)
STEPS_PER_CALL = 50
EVALUATIONS = 12  # of a training, at most
WRITTEN = 200  # tokens, to time
WHOLE_SEQUENCES = ["neural_gpu", "extended_neural_gpu"]


@dataclasses.dataclass(frozen=True)
class Column:
    """A task of the comparison.

    Attributes:
      settings: of the task.
      num_steps: of training.
      maps: whether it is for models over maps, with the LSTM and the tensorized LSTM beside them.
      answers: whether sequences are read before they are answered, so that it is also for models
        that answer whole sequences, in as many sequential steps as these have.
    """

    title: str
    task: str
    settings: Mapping[str, Any]
    num_steps: int
    maps: bool = False
    answers: bool = False

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the zoo that it is for."""
        of_maps = [name for name in zoo.MODELS if is_over_maps(name)]
        if self.maps:
            return ("tlstm", "lstm", *of_maps)
        left_out = of_maps + ([] if self.answers else WHOLE_SEQUENCES)
        return tuple(name for name in zoo.MODELS if name not in left_out)

    def steps(self, budget: float) -> int:
        """Of a training with so many times the usual number of steps."""
        return max(1, round(self.num_steps * budget / STEPS_PER_CALL)) * STEPS_PER_CALL


COLUMNS = (
    Column(
        "products in S3",
        "state_tracking",
        {"group": "s3", "sequence_length": 16, "batch_size": 32},
        1000,
    ),
    Column(
        "recall of 4 pairs",
        "multi_query_recall",
        {"num_pairs": 4, "num_keys": 32, "num_values": 16, "batch_size": 32},
        1000,
        answers=True,
    ),
    Column("permuted 8x8 digits", "pdigits", {"batch_size": 16}, 600),
    Column("text", "char_lm", {"batch_size": 16, "segment_length": 50}, 600),
    Column("8x8 digits row by row", "rows_digits", {"batch_size": 16}, 600, maps=True),
)
LONGER = "8"  # times the length that was trained on, in the table
TITLES: Mapping[str, str] = {column.task: column.title for column in COLUMNS}
# Where a default does not suit such short sequences, or such a short training.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "tlstm": {"normalization": "channel", "init": "spread"},
    "skip_rnn": {"skip": 6},
    "wavenet": {"dilations": (1, 2, 4, 8, 16, 32)},
    "hm_lstm": {"anneal_steps": 1000},
    "hyper_lstm": {"hyper_features": 16},
    "fast_weights_1992": {"decay": 0.7},
}


# Models whose number of parameters does not tell their cost, which grows with M^2.
WIDTHS: Mapping[str, int] = {"fast_weights_1992": 64, "tt_lstm": 256}


def train_row(path: pathlib.Path, column: Column, parameters: int, budget: float) -> str:
    """Trains the model that a file is named after on a task, and writes the file; returns its name."""
    begun, name = time.monotonic(), path.stem
    reference = _reference(name)
    features = choose_features(name, parameters, reference)
    task = TASKS[column.task](**column.settings)
    network = _network(name, features, task)
    row = {
        "features": features,
        "parameters": zoo.count_parameters(_network(name, features, reference)),
        **train_members(name, network, task, column.steps(budget)),
    }
    write_json(path, row | {"seconds": time.monotonic() - begun, **place()})
    return f"{name}, {column.title}"


def time_row(name: str, features: int) -> dict[str, float | None]:
    """The median time of a training step on digits, alone and in LSTM's of as many parameters.

    And the tokens a second that it writes on text, one sequence token by token; None where a model
    has no such form.
    """
    task = _reference(name)
    network = _network(name, features, task)
    lstm = _network("lstm", choose_features("lstm", zoo.count_parameters(network), task), task)
    contenders = [_timed(network, task), _timed(lstm, task)]
    in_turns(contenders, seconds=3.0)
    ours, of_lstm = (contender.median * 1e3 for contender in contenders)
    return {
        "milliseconds": ours,
        "times_lstm": ours / of_lstm,
        "tokens_per_second": None if is_over_maps(name) else _tokens_per_second(name, features),
    }


def is_over_maps(name: str) -> bool:
    """Whether a model of the zoo is for maps alone."""
    return "spatial_shape" in zoo.own_settings(name)


def _tokens_per_second(name: str, features: int) -> float | None:
    task = TASKS["char_lm"]()
    network = _network(name, features, task)
    if not network.causal:
        return None
    params, state = network.init(jax.random.key(0))
    prompt = jnp.zeros((1, 1), jnp.int32)
    key = jax.random.key(1)

    def write() -> Any:
        return jax.block_until_ready(generate(network, params, state, prompt, WRITTEN, key=key))

    contender = Contender("", write, flops=0.0)
    in_turns([contender], seconds=2.0)
    return WRITTEN / contender.median


def _reference(name: str) -> Task:
    """The digits with which a model's parameters are counted and its steps timed."""
    return TASKS["rows_digits" if is_over_maps(name) else "pdigits"](batch_size=16)


def _network(name: str, features: int, task: Task) -> Network:
    return zoo.make_network(name, features=features, **task_sizes(task), **SETTINGS.get(name, {}))


def choose_features(name: str, parameters: int, task: Task) -> int:
    """The even width with which a model on this task comes nearest to `parameters`; or of WIDTHS."""
    if name in WIDTHS:
        return WIDTHS[name]

    def size(features: int) -> int:
        return zoo.count_parameters(_network(name, features, task))

    low, high = 1, 2
    while size(2 * high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(2 * middle) < parameters else (low, middle)
    return min((2 * low, 2 * high), key=lambda features: abs(size(features) - parameters))


def eval_every(num_steps: int) -> int:
    """Steps between evaluations: the fewest calls with which there are at most EVALUATIONS of them."""
    return math.ceil(num_steps / STEPS_PER_CALL / EVALUATIONS) * STEPS_PER_CALL


def searched(name: str) -> dict[str, tuple[float, ...]]:
    """What of SEARCH a model of the zoo has."""
    known = {"learning_rate", *zoo.traced_settings(name)}
    return {setting: values for setting, values in SEARCH.items() if setting in known}


def halving(num_steps: int) -> Halving:
    """Of a training of so many steps: the first rung is at about a sixth of it."""
    every = eval_every(num_steps)
    return Halving(KEPT, every * max(1, num_steps // FIRST // every))


def rungs(num_steps: int) -> list[int]:
    """The steps at which some of what is searched is dropped."""
    return halving(num_steps).rungs(num_steps, eval_every(num_steps))[:-1]


def train_members(name: str, network: Network, task: Task, num_steps: int) -> dict[str, Any]:
    """Searches the settings of a model from all seeds together, and trains the best ones to the end.

    Args:
      name: of the model in the zoo.
      network: of it, for the task.

    Returns:
      {"metric": its name, "settings": the chosen ones, "units": [n], samples or characters seen by
      each at its evaluations, "valid": [seeds, n], the metric there, "test": [seeds], at the end,
      "longer": {times: [seeds]}, the same on sequences so many times as long, where the task has
      them}; None in place of a number where a member has diverged.
    """
    every = eval_every(num_steps)
    steps = [*range(every, num_steps, every), num_steps]
    settings = TrainSettings(
        num_steps=num_steps,
        eval_every=every,
        checkpoint_every=num_steps,
        steps_per_call=STEPS_PER_CALL,
    )
    points = grid({**searched(name), "seed": SEEDS})
    traced = zoo.traced_settings(name)
    groups = plan(points, lambda _: (task, network, settings), lambda _: traced)
    curves = Curves(range(len(points)), metric=task.metric, maximize=task.maximize)
    last: dict[int, tuple[TrainState, Progress]] = {}
    for _, reports in train_groups(
        groups,
        curves,
        halving=halving(num_steps),
        load=lambda group: [last.get(n) for n in group.members],
    ):
        for n, report in reports.items():
            if report.state is not None:
                last[n] = report.state, report.progress
    scores = [_at(curves, n, num_steps) for n in range(len(points))]
    best = ranked(over_seeds(points, scores))[0]
    data = jax.device_put(task.data)

    def tested(task: Task) -> dict[str, float]:
        """The metric of each of the best setting's members."""
        return {str(n): test(n, task) for n in best.members}

    def test(n: int, task: Task) -> float:
        if np.isnan(scores[n]):  # it diverged
            return float("nan")
        state, _ = last[n]
        metrics = training.evaluate(
            network,
            task,
            state.params,
            state.model_state,
            data,
            split="test",
            key=training.eval_key(state),
        )
        return metrics[task.metric]

    longer = of_longer(task, tested).get("longer", {})
    return {
        "metric": task.metric,
        "settings": best.point,
        "units": [step * task.units_per_step for step in steps],
        "valid": [
            _or_none([curves.valid[n].get(step, np.nan) for step in steps]) for n in best.members
        ],
        "test": list(or_none(tested(task)).values()),
        "longer": {times: list(of_members.values()) for times, of_members in longer.items()},
    }


def _at(curves: Curves, n: int, step: int) -> float:
    """A member's metric at a step, higher is better; NaN if it did not get there."""
    value = curves.valid[n].get(step, np.nan)
    return value if curves.maximize else -value


def _or_none(values: list[float]) -> list[float | None]:
    """For JSON, which knows no number that is not finite."""
    return [value if np.isfinite(value) else None for value in values]


def _timed(network: Network, task: Task) -> Contender:
    """One training step, alone."""
    settings = TrainSettings()
    state = training.init_state(network, task, settings, training.run_key(0))
    data = jax.device_put(task.data)
    step = jax.jit(functools.partial(training.train_step, network, task, settings))
    return Contender("", lambda: jax.block_until_ready(step(state, data)), flops=0.0)
