"""Many runs trained as one: the same training step vmapped over seeds and float settings.

A member computes what the same run computes alone in `training.fit`: its batches, evaluation
samples and masks follow from its own seed, and its settings are traced in place of constants. One
that diverges or has finished is frozen, and does not affect the others.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from tlstm_jax.network import Network
from tlstm_jax.training.compatibility import check_fits
from tlstm_jax.training.divergence import NonFiniteError, check_evaluation
from tlstm_jax.training.evaluation import eval_step, outline, over_batches, start_carry
from tlstm_jax.training.loop import (
    Overrides,
    Report,
    TrainState,
    eval_key,
    init_state,
    run_key,
    train_means,
    train_step,
)
from tlstm_jax.training.progress import Progress, finished, judge
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Array, PyTree, Sums, Task

DIVERGED = "diverged"  # the first word of such a member's reason to stop


@functools.partial(jax.jit, static_argnames=("network", "task", "settings"))
def init_members(
    network: Network, task: Task, settings: TrainSettings, seeds: Array, overrides: Overrides
) -> TrainState:
    """The states before the first step, with a leading axis of members.

    Args:
      seeds: integers [N].
      overrides: dicts of floats [N].
    """

    def init(seed: Array, overrides: Overrides) -> TrainState:
        return init_state(network, task, settings, run_key(seed), overrides)

    return jax.vmap(init)(seeds, overrides)


@functools.partial(
    jax.jit, static_argnames=("network", "task", "settings"), donate_argnames=("states",)
)
def train_members(
    network: Network,
    task: Task,
    settings: TrainSettings,
    states: TrainState,
    active: Array,
    data: PyTree,
    overrides: Overrides,
) -> tuple[TrainState, dict[str, Any]]:
    """`steps_per_call` steps of all members, as in `training.train_call` for one.

    Args:
      states: as of `init_members`; donated.
      active: bool [N]; the states of other members do not change.

    Returns:
      The states, and what the steps return, [N, steps], with "good": whether a step was taken. A
      member takes no step whose loss or gradient is not finite, and none after it.
    """

    def train(
        state: TrainState, active: Array, overrides: Overrides
    ) -> tuple[TrainState, dict[str, Any]]:
        def step(carry: tuple[TrainState, Array], _: None) -> Any:
            state, good = carry
            new, metrics = train_step(network, task, settings, state, data, overrides)
            good &= jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
            state = jax.tree.map(functools.partial(jnp.where, good), new, state)
            return (state, good), metrics | {"good": good}

        (state, _), steps = jax.lax.scan(
            step, (state, active), None, length=settings.steps_per_call
        )
        return state, steps

    return jax.vmap(train)(states, active, overrides)


@functools.partial(jax.jit, static_argnames=("network", "task", "split"))
def _eval_members(
    network: Network,
    task: Task,
    split: str,
    models: PyTree,
    carries: PyTree,
    data: PyTree,
    keys: Array,
    index: Array,
) -> tuple[PyTree, Sums]:
    step = functools.partial(eval_step, network, task, split)
    return jax.vmap(step, in_axes=(0, 0, None, 0, None))(models, carries, data, keys, index)


def evaluate_members(
    network: Network, task: Task, states: TrainState, data: PyTree, *, split: str
) -> dict[str, np.ndarray]:
    """The task's metrics [N] over `split`, as `training.evaluate` computes them after a step."""
    models = states.params, states.model_state
    keys, task = jax.vmap(eval_key)(states), outline(task)

    def step(carries: PyTree, index: Array) -> tuple[PyTree, Sums]:
        return _eval_members(network, task, split, models, carries, data, keys, index)

    start = functools.partial(start_carry, network, task, split, data)
    carries = jax.vmap(start)(states.params)
    return over_batches(step, carries, task.num_eval_batches(split, network.delay))


def fit_members(
    network: Network,
    task: Task,
    settings: TrainSettings,
    *,
    seeds: Sequence[int],
    overrides: Overrides,
    saved: Sequence[tuple[TrainState, Progress] | None] | None = None,
    idle: Sequence[bool] | None = None,
    until: int | None = None,
    should_stop: Callable[[], str | None] = lambda: None,
    devices: Sequence[Any] | None = None,
) -> Iterator[dict[int, Report]]:
    """Trains all members, yielding after every compiled call the reports of those still training.

    As in `training.fit`, a report has the state after an evaluation, at multiples of
    `checkpoint_every` and where training stops; here it is in the host's memory. A member that
    diverges is reported once, as finished, without a state.

    Args:
      network, task, settings: of all members; `settings.seed` and what is overridden are not read.
      seeds: of the members.
      overrides: dicts of sequences of floats, one for each member.
      saved: states and progress of earlier reports, all of the same step, to resume from; None:
        from scratch.
      idle: members that are not trained, but stay in the compiled program.
      until: stop after this step, a multiple of eval_every.
      should_stop: called after every call; returns a reason to stop, or None.
      devices: over which the members are sharded; None: all.
    """
    N = len(seeds)
    shard, pad, replicate = _placement(N, jax.devices() if devices is None else devices)
    overrides = Overrides(*(_stacked(field, pad, shard) for field in overrides))
    data = replicate(task.data)
    check_fits(network, task, data)
    task = outline(task)
    states = init_members(network, task, settings, shard(pad(seeds)), overrides)
    progress, step = [Progress()] * N, 0
    if saved is not None and any(saved):
        states, progress, step = _restored(states, saved)
    states = shard(states)
    training = np.arange(len(pad(seeds))) < N
    training[:N] &= [finished(settings, at) is None for at in progress]
    if idle is not None:
        training[:N] &= ~np.array(idle)
    last = settings.num_steps if until is None else until
    while training.any() and step < last:
        states, steps = train_members(
            network, task, settings, states, shard(training), data, overrides
        )
        step += settings.steps_per_call
        stop, valid, host = should_stop(), None, None
        if step >= settings.num_steps or step % settings.eval_every == 0:
            valid = evaluate_members(network, task, states, data, split="valid")
        if stop or valid is not None or step % settings.checkpoint_every == 0:
            host = _on_host(states)
        steps, reports = jax.device_get(steps), {}
        for n in map(int, np.flatnonzero(training)):
            report = _report(
                task,
                settings,
                dataclasses.replace(progress[n], step=step, units=step * task.units_per_step),
                jax.tree.map(operator.itemgetter(n), steps),
                None if valid is None else {name: float(x[n]) for name, x in valid.items()},
                None if host is None else member(host, n),
                stop,
            )
            if report.state is not None or not report.finished:
                progress[n] = report.progress
            training[n], reports[n] = not report.finished, report
        yield reports
        if stop:
            return


def _report(
    task: Task,
    settings: TrainSettings,
    progress: Progress,
    steps: dict[str, Any],
    valid: dict[str, float] | None,
    state: TrainState | None,
    stop: str | None,
) -> Report:
    """Of one member after a call that ended with `progress`."""
    improved = False
    try:
        train = train_means(progress, steps)
        if valid is not None:
            check_evaluation(progress.step, valid)
    except NonFiniteError as e:
        return Report(None, progress, {}, None, False, f"{DIVERGED}: {e}", True)
    if valid is not None:
        progress, improved = judge(task, progress, valid[task.metric])
    why = finished(settings, progress)
    return Report(state, progress, train, valid, improved, why or stop, why is not None)


def _placement(N: int, devices: Sequence[Any]) -> tuple[Callable, Callable, Callable]:
    """For N members: (shard arrays [N, ..], pad a list to a multiple of devices, replicate)."""
    mesh = jax.sharding.Mesh(np.array(devices), ("members",))
    missing = -N % len(devices)

    def pad(values: Sequence[Any]) -> np.ndarray:
        return np.array([*values, *[values[-1]] * missing])

    def put(spec: PartitionSpec) -> Callable[[PyTree], PyTree]:
        return lambda tree: jax.device_put(tree, NamedSharding(mesh, spec))

    return put(PartitionSpec("members")), pad, put(PartitionSpec())


def _stacked(field: Mapping[str, Sequence[float]] | None, pad: Callable, shard: Callable) -> Any:
    return {name: shard(jnp.asarray(pad(values))) for name, values in (field or {}).items()}


def _on_host(states: TrainState) -> TrainState:
    """As NumPy arrays, except for keys."""
    return jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x), states
    )


def member(states: TrainState, n: int) -> TrainState:
    """The state of one of the members."""
    return jax.tree.map(operator.itemgetter(n), states)


def _restored(
    states: TrainState, saved: Sequence[tuple[TrainState, Progress] | None]
) -> tuple[TrainState, list[Progress], int]:
    """The states, with those that were saved in place of new ones, their progress and step."""
    members = [member(states, n) for n in range(states.step.shape[0])]
    for n, checkpoint in enumerate(saved):
        if checkpoint is not None:
            members[n] = checkpoint[0]
    progress = [Progress() if checkpoint is None else checkpoint[1] for checkpoint in saved]
    return (
        jax.tree.map(lambda *x: jnp.stack(x), *members),
        progress,
        max(at.step for at in progress),
    )
