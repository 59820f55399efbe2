"""Evaluation: the task's metrics over a split."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.devices.layout import Layout, tracing
from tlstm_jax.network import Network
from tlstm_jax.training.compatibility import check_sizes
from tlstm_jax.typing import Array, Carry, Params, PyTree, State, Sums, Task


def outline(task: Task) -> Task:
    """The task that programs are compiled for: its `outline`, without data, if it has one."""
    return task.outline if hasattr(type(task), "outline") else task


def eval_step(
    network: Network,
    task: Task,
    split: str,
    model: tuple[Params, State],
    carry: Carry,
    data: PyTree,
    key: Array,
    index: Array,
    layout: Layout | None = None,
) -> tuple[Carry, Sums]:
    """The task's metrics on batch `index` of `split`, and a stream's carry after it."""
    params, model_state = model
    batch = task.eval_batch(data, key, split, index, network.delay)
    batch = batch if layout is None else layout.shard(batch)
    if not task.stream:
        carry = network.init_carry(batch.inputs.shape[1], params=params)
    with tracing(layout):
        carry, logits, _, _ = network.apply(
            params,
            model_state,
            carry,
            batch.inputs,
            last_only=task.last_only,
            flush=not task.stream,
            lengths=batch.lengths,
        )
    sums = task.metrics(logits, batch)
    return carry if task.stream else (), sums if layout is None else layout.gather(sums)


def start_carry(network: Network, task: Task, split: str, data: PyTree, params: Params) -> Carry:
    """The carry of the first `eval_step`; () unless the task is a stream."""
    if not task.stream:
        return ()
    key = jax.random.key(0)
    first = jax.eval_shape(
        lambda data: task.eval_batch(data, key, split, jnp.int32(0), network.delay), data
    )
    return network.init_carry(first.inputs.shape[1], params=params)


_eval_step = jax.jit(eval_step, static_argnames=("network", "task", "split", "layout"))


def evaluate(
    network: Network,
    task: Task,
    params: Params,
    model_state: State,
    data: PyTree,
    *,
    split: str,
    key: Array,
    layout: Layout | None = None,
) -> dict[str, float]:
    """The task's metrics over `split` ("valid" or "test").

    Args:
      data: `task.data`, best on the device.
      key: draws the samples of tasks that evaluate on fresh ones.
      layout: of the devices; a batch that cannot be sharded evenly is replicated. None: one device.

    Raises:
      ValueError: the network's sizes are not the task's.
    """
    check_sizes(network, task)
    model, task = (params, model_state), outline(task)

    def step(carry: Carry, index: Array) -> tuple[Carry, Sums]:
        return _eval_step(network, task, split, model, carry, data, key, index, layout)

    carry = start_carry(network, task, split, data, params)
    found = over_batches(step, carry, task.num_eval_batches(split, network.delay))
    return {name: float(x) for name, x in found.items()}


def over_batches(
    step: Callable[[Carry, Array], tuple[Carry, Sums]], carry: Carry, number: int
) -> dict[str, np.ndarray]:
    """Each metric over `number` batches, whose sums `step` computes one after the other."""
    batches = []
    for i in range(number):
        carry, sums = step(carry, jnp.int32(i))
        batches.append(sums)
    return means(jax.tree.map(lambda *parts: np.array(parts), *jax.device_get(batches)))


def means(sums: Sums) -> dict[str, np.ndarray]:
    """Each metric over all batches or steps, the first axis of its sum and count; in float64."""
    totals = {name: [np.sum(x, axis=0, dtype=np.float64) for x in xs] for name, xs in sums.items()}
    return {name: total / np.maximum(count, 1.0) for name, (total, count) in totals.items()}
