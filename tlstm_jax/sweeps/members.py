"""Many runs trained as one: the same training step vmapped over seeds and float settings.

A member computes what the same run computes alone, in `training.fit`: its batches, evaluation samples and
masks follow from its own seed, its settings are traced in place of constants. One that diverges or is
finished is frozen, and nothing of it reaches the others.
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

DIVERGED = "diverged"  # how such a member's reason to stop begins


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
    """`steps_per_call` steps of all members, as `training.train_call` does them for one.

    Args:
      states: of `init_members`; donated.
      active: bool [N]; the states of the others stay what they are.

    Returns:
      The states, and what the steps return, [N, steps], with "good": whether a step was taken. A member
      takes no more steps from the first on whose loss or gradient is not finite.
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
    """The task's metrics [N] over the whole of `split`, as `training.evaluate` has them after a step."""
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
    """Trains all members, yielding the reports of those still training after every compiled call.

    As in `training.fit`, a report has the state after an evaluation, at multiples of
    `checkpoint_every` and where training stops; here it is an array of the host. A member that diverges is
    reported once, as finished, without a state.

    Args:
      network, task, settings: of all members; `settings.seed` and what is in `overrides` is not read.
      seeds: of the members.
      overrides: dicts of sequences of floats, one for each member.
      saved: states and progress of earlier reports, all of the same step, to go on from; None: from the
        beginning.
      idle: members that are there, but not trained; their place keeps the program the same.
      until: stop after this step, a multiple of eval_every.
      should_stop: asked after every call; a reason to stop, or None.
      devices: that the members are spread over; all if None.
    """
    N = len(seeds)
    spread, pad, everywhere = _placement(N, jax.devices() if devices is None else devices)
    overrides = Overrides(*(_stacked(part, pad, spread) for part in overrides))
    data = everywhere(task.data)
    check_fits(network, task, data)
    task = outline(task)
    states = init_members(network, task, settings, spread(pad(seeds)), overrides)
    progress, step = [Progress()] * N, 0
    if saved is not None and any(saved):
        states, progress, step = _restored(states, saved)
    states = spread(states)
    training = np.arange(len(pad(seeds))) < N
    training[:N] &= [finished(settings, at) is None for at in progress]
    if idle is not None:
        training[:N] &= ~np.array(idle)
    last = settings.num_steps if until is None else until
    while training.any() and step < last:
        states, steps = train_members(
            network, task, settings, states, spread(training), data, overrides
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
    """Of one member after a call, which ended with `progress`."""
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
    """How N members lie on devices: (put [N..] there, fill up a list to a multiple, put on all)."""
    mesh = jax.sharding.Mesh(np.array(devices), ("members",))
    missing = -N % len(devices)

    def pad(values: Sequence[Any]) -> np.ndarray:
        return np.array([*values, *[values[-1]] * missing])

    def put(spec: PartitionSpec) -> Callable[[PyTree], PyTree]:
        return lambda tree: jax.device_put(tree, NamedSharding(mesh, spec))

    return put(PartitionSpec("members")), pad, put(PartitionSpec())


def _stacked(part: Mapping[str, Sequence[float]] | None, pad: Callable, spread: Callable) -> Any:
    return {name: spread(jnp.asarray(pad(values))) for name, values in (part or {}).items()}


def _on_host(states: TrainState) -> TrainState:
    """NumPy arrays, but for keys, which have none."""
    return jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x), states
    )


def member(states: TrainState, n: int) -> TrainState:
    """The state of one of the members."""
    return jax.tree.map(operator.itemgetter(n), states)


def _restored(
    states: TrainState, saved: Sequence[tuple[TrainState, Progress] | None]
) -> tuple[TrainState, list[Progress], int]:
    """The states with those that were saved in their places, and how far they are."""
    parts = [member(states, n) for n in range(states.step.shape[0])]
    for n, checkpoint in enumerate(saved):
        if checkpoint is not None:
            parts[n] = checkpoint[0]
    progress = [Progress() if checkpoint is None else checkpoint[1] for checkpoint in saved]
    return (
        jax.tree.map(lambda *x: jnp.stack(x), *parts),
        progress,
        max(at.step for at in progress),
    )
