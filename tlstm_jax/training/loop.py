"""Training: pure functions of a network and a task, and the loop that calls them.

A run is a function of its settings and a seed alone: every batch, evaluation sample and dropout
mask follows from the run's key and the step number, so that a run that stops and resumes from its
TrainState and Progress ends with the same parameters, bit for bit.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlstm_jax.devices.layout import Layout, tracing
from tlstm_jax.network import Network
from tlstm_jax.overrides import override
from tlstm_jax.training.compatibility import check_fits
from tlstm_jax.training.divergence import NonFiniteError, check_evaluation
from tlstm_jax.training.evaluation import evaluate, means, outline
from tlstm_jax.training.progress import Progress, finished, judge
from tlstm_jax.training.settings import TrainSettings
from tlstm_jax.typing import Array, Batch, Carry, Floats, Params, PyTree, State, Sums, Task


class TrainState(NamedTuple):
    """All that the next step depends on, beside the settings and the data."""

    step: Array  # int32 scalar: steps done, and thereby the position in the data
    key: Array  # the run's PRNG key; constant
    params: Params
    opt_state: PyTree
    model_state: State
    carry: Carry  # of a stream task; () otherwise


class Overrides(NamedTuple):
    """Traced floats in place of settings, so that a sweep can vmap over them."""

    init: Floats | None = (
        None  # of the network in `init`: forget_bias, scales; see `overrides.initial`
    )
    apply: Floats | None = None  # of the network in `apply`: input_rate, output_rate of Dropout
    train: Floats | None = None  # of TrainSettings: learning_rate, weight_decay, clip_norm


NO_OVERRIDES = Overrides()


class Report(NamedTuple):
    """The state of a run after a compiled call."""

    state: TrainState | None  # None if it was donated to the next call; see `fit`
    progress: Progress
    train: dict[str, float]  # means over the call's steps
    valid: dict[str, float] | None  # metrics of the evaluation, if there was one
    improved: bool  # whether that evaluation is the best so far
    stop: str | None  # why the run ends here, if it does
    finished: bool  # whether it would also end here if resumed

    def record(self, unit: str) -> dict[str, Any]:
        """Its numbers as plain values, for JSON and `pictures.plot_curves`; `unit`: the task's."""
        record = {"step": self.progress.step, unit: self.progress.units, "train": self.train}
        return record if self.valid is None else record | {"valid": self.valid}


def run_key(seed: int | Array) -> Array:
    """A run's key: threefry, not JAX's default, since others draw differently under vmap."""
    return jax.random.key(seed, impl="threefry2x32")


def _key(state_key: Array, purpose: str) -> Array:
    return jax.random.fold_in(state_key, ("init", "data", "eval", "model").index(purpose))


def init_state(
    network: Network,
    task: Task,
    settings: TrainSettings,
    key: Array,
    overrides: Overrides = NO_OVERRIDES,
    layout: Layout | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
      key: the run's key, `run_key(settings.seed)`.
      layout: of the devices; None: the device of `key`.
    """
    return _init_state(network, outline(task), settings, key, overrides, layout)


@functools.partial(jax.jit, static_argnames=("network", "task", "settings", "layout"))
def _init_state(
    network: Network,
    task: Task,
    settings: TrainSettings,
    key: Array,
    overrides: Overrides,
    layout: Layout | None,
) -> TrainState:
    floats = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), overrides.init)
    params, model_state = override(network, floats).init(_key(key, "init"))
    carry = network.init_carry(task.batch_size, params=params) if task.stream else ()
    opt_state = settings.make_optimizer(params).init(params)
    state = TrainState(jnp.zeros((), jnp.int32), key, params, opt_state, model_state, carry)
    return state if layout is None else layout.constrain(state)


def abstract_state(
    network: Network, task: Task, settings: TrainSettings, layout: Layout | None = None
) -> TrainState:
    """The shapes, dtypes and shardings of `init_state`, for `checkpointing.restore`."""
    init = functools.partial(init_state, network, task, settings)
    state = jax.eval_shape(init, run_key(0))
    if layout is None:
        return state
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        layout.shardings(state),
    )


def train_step(
    network: Network,
    task: Task,
    settings: TrainSettings,
    state: TrainState,
    data: PyTree,
    overrides: Overrides = NO_OVERRIDES,
    layout: Layout | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """One optimizer step on the task's next batch.

    Args:
      layout: of the devices, in a program traced for them (`layout.tracing`); None: one device.

    Returns:
      The new state, and {"sums": the task's metrics, "loss", "grad_norm": scalars}.
    """
    state = state if layout is None else layout.constrain(state)
    batch = task.train_batch(data, _key(state.key, "data"), state.step, network.delay)
    batch = batch if layout is None else layout.shard(batch)
    model_key = jax.random.fold_in(_key(state.key, "model"), state.step)
    applied = override(network, overrides.apply)

    def loss_fn(params: Params) -> tuple[Array, tuple[Carry, State, Sums]]:
        carry, logits, model_state, aux = applied.apply(
            params,
            state.model_state,
            _start(network, task, params, state.carry, batch),
            batch.inputs,
            last_only=task.last_only,
            flush=not task.stream,
            lengths=batch.lengths,
            key=model_key,
            train=True,
        )
        sums = task.metrics(logits, batch)
        total, count = sums["loss"]
        count = jnp.maximum(count, jnp.ones_like(count)).astype(total.dtype)
        loss = total / count + sum(aux.values())
        return loss, (carry if task.stream else (), model_state, sums)

    grad = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (carry, model_state, sums)), grads = grad(state.params)
    with jax.numpy_dtype_promotion("standard"):  # Optax's bias correction relies on it
        optimizer = override(settings, overrides.train).make_optimizer(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    state = TrainState(state.step + 1, state.key, params, opt_state, model_state, carry)
    return state, {"sums": sums, "loss": loss, "grad_norm": optax.tree.norm(grads)}


@functools.partial(
    jax.jit, static_argnames=("network", "task", "settings", "layout"), donate_argnames=("state",)
)
def train_call(
    network: Network,
    task: Task,
    settings: TrainSettings,
    state: TrainState,
    data: PyTree,
    layout: Layout | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """`steps_per_call` steps in one compiled call; what they return has a leading axis of steps.

    `state` is donated: its buffers are invalid after the call. The compiled program keeps `task`
    alive: pass `evaluation.outline(task)`.
    """
    step = functools.partial(train_step, network, task, settings, data=data, layout=layout)
    with tracing(layout):
        state, steps = jax.lax.scan(
            lambda state, _: step(state=state), state, None, length=settings.steps_per_call
        )
    return (state, steps) if layout is None else (layout.constrain(state), layout.gather(steps))


def _start(network: Network, task: Task, params: Params, carry: Carry, batch: Batch) -> Carry:
    """The carry that a batch starts from: the stream's, or the initial one where it is reset."""
    if not task.stream:
        return network.init_carry(batch.inputs.shape[1], params=params)
    if batch.restart is None:
        return carry

    def select(new: Array, old: Array) -> Array:
        restart = batch.restart.reshape(-1, *(1,) * (old.ndim - 1))
        return jnp.where(jnp.broadcast_to(restart, old.shape), new.astype(old.dtype), old)

    return jax.tree.map(select, network.init_carry(batch.restart.shape[0], params=params), carry)


def eval_key(state: TrainState) -> Array:
    """The key of the evaluation after `state.step` steps: fresh samples every time."""
    return jax.random.fold_in(_key(state.key, "eval"), state.step)


def check_target(task: Task, settings: TrainSettings) -> None:
    """Raises ValueError if a training is to stop at a target that its task does not have."""
    if settings.stop_at_target and task.target is None:
        raise ValueError(
            f"stop_at_target is True; accepted for task {task.name}, which has no target, is False"
        )


def fit(
    network: Network,
    task: Task,
    settings: TrainSettings,
    *,
    state: TrainState | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], str | None] = lambda: None,
    layout: Layout | None = None,
) -> Iterator[Report]:
    """Trains, yielding a Report after every compiled call; none if the run is finished already.

    The next call is already running while a report is read, so that the device does not wait for
    the host, and the state was donated to it. It waits only after an evaluation, at multiples of
    `checkpoint_every` and where training stops; these reports have the state. That state is donated
    to the next call: use it before asking for the next report, as `keep_best` does, which keeps the
    best parameters.

    Args:
      state, progress: of an earlier report, to resume from; None: from scratch.
      should_stop: called after every call; returns a reason to stop, or None. With several
        processes all must return the same.
      layout: of the devices; None: JAX's default device.

    Raises:
      NonFiniteError: the loss, the gradient or an evaluation is not finite; at the last report they
        were.
      ValueError: the network's sizes are not the task's, labels are out of range, a batch cannot be
        sharded evenly, or data differ between processes.

    Example:
      >>> from tlstm_jax import GRU, Network, TrainSettings, fit
      >>> from tlstm_jax.tasks.memorization import memorization
      >>> task = memorization(2, 4, batch_size=8)
      >>> network = Network(GRU(8), task.input_size, task.output_size, tokens=task.tokens)
      >>> settings = TrainSettings(num_steps=20, eval_every=10, checkpoint_every=20)
      >>> reports = list(fit(network, task, settings))
      >>> [(report.progress.step, report.valid is not None) for report in reports]
      [(10, True), (20, True)]
    """
    check_target(task, settings)
    place = jax.device_put if layout is None else layout.put
    if layout is not None:
        layout.check(task.batch_size)
    if state is None:
        key = place(run_key(settings.seed))
        state = init_state(network, task, settings, key, layout=layout)
    progress = progress or Progress()
    data = place(task.data)
    check_fits(network, task, data)
    task = outline(task)
    running: tuple[Progress, dict[str, Any]] | None = None
    while finished(settings, progress) is None:
        state, steps = train_call(network, task, settings, state, data, layout)
        if running is not None:
            yield Report(None, running[0], train_means(*running), None, False, None, False)
        step = progress.step + settings.steps_per_call
        progress = dataclasses.replace(progress, step=step, units=step * task.units_per_step)
        running = progress, steps
        stop, last = should_stop(), step >= settings.num_steps
        evaluates = last or step % settings.eval_every == 0
        if not (stop or evaluates or step % settings.checkpoint_every == 0):
            continue
        train, running = train_means(*running), None
        valid, improved = None, False
        if evaluates:
            valid = evaluate(
                network,
                task,
                state.params,
                state.model_state,
                data,
                split="valid",
                key=eval_key(state),
                layout=layout,
            )
            check_evaluation(step, valid)
            progress, improved = judge(task, progress, valid[task.metric])
        why = finished(settings, progress)
        yield Report(state, progress, train, valid, improved, why or stop, why is not None)
        if why or stop:
            return


def train_means(progress: Progress, steps: dict[str, Any]) -> dict[str, float]:
    """Means over the steps of a call, which ended with `progress`; blocks until it is done.

    Raises:
      NonFiniteError: for the first step whose loss or gradient is not finite.
    """
    steps = jax.device_get(steps)
    finite = np.isfinite(steps["loss"]) & np.isfinite(steps["grad_norm"])
    if not finite.all():
        raise NonFiniteError(progress.step - len(finite) + int(np.argmin(finite)) + 1)
    of_task = {name: float(x) for name, x in means(steps["sums"]).items()}
    return of_task | {"grad_norm": float(np.mean(steps["grad_norm"]))}
