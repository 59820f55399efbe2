"""Pictures of what a run's network generates, where its task says that there are some."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax import generation, image_pictures
from tlstm_jax.network import Network
from tlstm_jax.typing import Batch, Params, State, Task

_SAMPLES = 64  # on a sheet


class Generated(NamedTuple):
    """A picture, and what is said of it."""

    figure: Any
    text: str


def generated(
    task: Task,
    network: Network,
    params: Params,
    state: State,
    batch: Batch,
    *,
    example: int,
    what: str,
) -> dict[str, Generated]:
    """Name -> picture; {} for most tasks.

    Args:
      batch: of an evaluation.
      example: which of its rollouts is drawn.
      what: the run, for titles.

    Raises:
      ValueError: the network is not causal, so that it cannot generate.
    """
    found = {}
    if getattr(task, "given", 0):
        found["rollout"] = _rollout(task, network, params, state, batch, example, what)
    if _picture(task, batch.targets[:, 0]) is not None:
        found["samples"] = _samples(task, network, params, state, batch, what)
    return found


def _rollout(
    task: Task,
    network: Network,
    params: Params,
    state: State,
    batch: Batch,
    example: int,
    what: str,
) -> Generated:
    given, number = task.given, len(batch.targets) + 1 - task.given
    outputs = generation.rollout(
        network, params, state, batch.inputs[:given], number, feed=task.feed
    )
    of_rest = Batch(batch.inputs, batch.targets[given - 1 :], batch.mask[given - 1 :])
    total, count = task.metrics(outputs, of_rest)["loss"]
    label = task.metric_labels.get("loss", "loss")
    text = f"{number} frames after {given}, fed back: {label} {float(total / count):.4g}"
    film = jnp.concatenate([batch.inputs[:1], batch.targets])[:, example]
    figure = image_pictures.plot_rollout(
        task.film(np.asarray(film)),
        task.film(np.asarray(task.feed(outputs[:, example]))),
        title=f"rollout of {what}",
    )
    return Generated(figure, text)


def _samples(
    task: Task, network: Network, params: Params, state: State, batch: Batch, what: str
) -> Generated:
    T, key = len(batch.targets), jax.random.key(0)
    if network.tokens:
        start = jnp.full((1, _SAMPLES), -1, jnp.int32)  # the zero input, which the first answers
        sampled = generation.generate(network, params, state, start, T, key=key)
    else:
        sampled = generation.generate_rows(network, params, state, _SAMPLES, T, key=key)
    sheets = {"data": batch.targets, "samples": sampled}
    drawn = {
        name: np.stack([_picture(task, one) for one in np.asarray(of).swapaxes(0, 1)[:_SAMPLES]])
        for name, of in sheets.items()
    }
    return Generated(image_pictures.plot_sheets(drawn, title=what), f"{_SAMPLES} samples")


def _picture(task: Task, sampled: Any) -> np.ndarray | None:
    """`sample_picture`, which not every user's own task has."""
    draw = getattr(task, "sample_picture", None)
    return None if draw is None else draw(np.asarray(sampled))
