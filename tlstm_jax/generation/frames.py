"""Frame by frame: predictions that are read again."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from tlstm_jax.generation.tokens import read
from tlstm_jax.network import Network
from tlstm_jax.typing import Array, Carry, Params, State


@functools.partial(jax.jit, static_argnames=("network", "num_steps", "feed"))
def _rollout(
    network: Network,
    params: Params,
    state: State,
    xs: Array,
    num_steps: int,
    feed: Callable[[Array], Array],
) -> Array:
    carry = network.init_token_carry(xs.shape[1], params=params)
    carry, outputs = read(network, params, state, carry, xs)

    def next_output(loop: tuple[Carry, Array], _: None) -> tuple[Any, Array]:
        carry, output = loop
        return network.token_step(params, state, carry, feed(output)), output

    _, predicted = jax.lax.scan(next_output, (carry, outputs[-1]), length=num_steps)
    return predicted


def rollout(
    network: Network,
    params: Params,
    state: State,
    xs: Array,
    num_steps: int,
    *,
    feed: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Array:
    """Predicts inputs from those given, then from its own predictions.

    Args:
      network: a causal network that was trained to answer an input with the next one: its outputs
        have the shape of its inputs, vectors or (`per_location`) maps.
      params, state: of the network.
      xs: [T, B, .., I] float, the given inputs, T >= 1.
      num_steps: how many to predict, static.
      feed: what is read in place of an input, from the outputs [B, .., I]; static. By default
        their sigmoid, for frames in [0, 1] and binary cross-entropy.

    Returns:
      [num_steps, B, .., I]: the outputs, before `feed`, so that a task's metrics can read them. The
      first answers the last given input, and predicts the one after it.

    Raises:
      ValueError: the network is not causal, or its outputs are no inputs; params belong to another;
        xs are not such inputs; num_steps is out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU, Network
      >>> from tlstm_jax.generation import rollout
      >>> network = Network(GRU(8), input_size=3, output_size=3)
      >>> params, state = network.init(jax.random.key(0))
      >>> rollout(network, params, state, jnp.zeros((10, 2, 3)), 7).shape
      (7, 2, 3)
    """
    network.check_causal()
    network.check_params(params)
    size = network.input_sizes
    written = (*size[:-1], network.output_size) if network.per_location else (network.output_size,)
    if network.tokens or written != size:
        raise ValueError(
            f"the network reads {'tokens' if network.tokens else size} and writes {written}; "
            "accepted is one that writes vectors or maps like those that it reads"
        )
    if xs.shape[2:] != size or xs.shape[0] < 1:
        raise ValueError(
            f"xs has shape {xs.shape}; accepted is [T, B, {', '.join(map(str, size))}] with T >= 1"
        )
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; accepted are integers >= 1")
    return _rollout(network, params, state, xs, num_steps, feed)
