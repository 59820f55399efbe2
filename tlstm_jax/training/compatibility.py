"""Whether a network, a task and its data belong together, before anything is compiled for them.

A mismatch would raise no error: a gather reads NaN, or the last entry, for an index out of range,
and a negative label counts from the end.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.network import Network, task_sizes
from tlstm_jax.typing import Batch, PyTree, Task


def check_sizes(network: Network, task: Task) -> None:
    """Raises ValueError unless the network reads and writes what the task has."""
    sizes = task_sizes(task)
    for name in ("input_size", "output_size", "per_location"):
        if getattr(network, name) != sizes[name]:
            raise ValueError(
                f"{name} of the network is {getattr(network, name)}; accepted is that of "
                f"{task.name}, {sizes[name]}"
            )
    if getattr(task, "own_targets", False) and network.row_mask != "A":
        model = network.model
        while inner := getattr(model, "cell", None) or getattr(model, "model", None):
            model = inner  # of a wrapper
        raise ValueError(
            f"the inputs of {task.name} are its targets, which a {type(model).__name__} would see; "
            "accepted are models with row_mask A"
        )


def check_fits(network: Network, task: Task, data: PyTree) -> None:
    """Compares the sizes, and checks the first batch of training and of validation.

    Args:
      data: `task.data`, best on the device.

    Raises:
      ValueError: one of them does not fit.
    """
    check_sizes(network, task)
    first, key = np.int32(0), jax.random.key(0)

    def batches(data: PyTree) -> tuple[Batch, Batch]:
        train = task.train_batch(data, key, first, network.delay)
        return train, task.eval_batch(data, key, "valid", first, network.delay)

    for batch in jax.eval_shape(batches, data):
        _check_shapes(task, batch)
    if all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(data)):
        for batch in jax.device_get(jax.jit(batches)(data)):  # the program is not kept
            _check_values(task, batch)


def _check_shapes(task: Task, batch: Any) -> None:
    inputs, targets, mask = batch.inputs, batch.targets, batch.mask
    tokens = jnp.issubdtype(inputs.dtype, jnp.integer)
    size = task_sizes(task)["input_size"]
    spatial = size[:-1] if isinstance(size, tuple) else ()
    if inputs.ndim != (2 if tokens else 3 + len(spatial)):
        accepted = f"[T, B, {', '.join([*map(str, spatial), 'I'])}] of numbers"
        raise ValueError(
            f"inputs of {task.name} have the shape {inputs.shape}; accepted is "
            f"{'[T, B] of tokens' if tokens else accepted}"
        )
    given = inputs.shape[2:] if spatial else inputs.shape[-1:]
    if not tokens and given != (size if isinstance(size, tuple) else (size,)):
        raise ValueError(
            f"inputs of {task.name} have {', '.join(map(str, given))} features; accepted is its "
            f"input_size, {size}"
        )
    if not _are_classes(task, targets):
        return  # for a loss of the task's own
    scored = (1 if task.last_only else inputs.shape[0], inputs.shape[1])
    scored = (*scored, *spatial) if task_sizes(task)["per_location"] else scored
    for name, array, verb in (("targets", targets, "have"), ("mask", mask, "has")):
        if array.shape != scored:
            raise ValueError(
                f"{name} of {task.name} {verb} the shape {array.shape}; accepted is {scored}"
            )


def _check_values(task: Task, batch: Batch) -> None:
    if jnp.issubdtype(batch.inputs.dtype, jnp.integer) and batch.inputs.size:
        low, high = batch.inputs.min(), batch.inputs.max()
        if low < -1 or high >= task.input_size:
            raise ValueError(
                f"inputs of {task.name} are tokens {low} to {high}; accepted are 0 to "
                f"{task.input_size - 1}, and -1 for none"
            )
    scored = batch.targets[batch.mask.astype(bool)] if _are_classes(task, batch.targets) else ()
    if len(scored) and (scored.min() < 0 or scored.max() >= task.output_size):
        raise ValueError(
            f"targets of {task.name} are {scored.min()} to {scored.max()}; accepted are classes "
            f"from 0 to {task.output_size - 1}"
        )


def _are_classes(task: Task, targets: Any) -> bool:
    sizes = task_sizes(task)
    axes = len(sizes["input_size"]) + 1 if sizes["per_location"] else 2
    return jnp.issubdtype(targets.dtype, jnp.integer) and targets.ndim == axes
