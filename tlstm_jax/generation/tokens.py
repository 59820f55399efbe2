"""Token by token."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlstm_jax.network import Network
from tlstm_jax.typing import Array, Carry, Params, State


@functools.partial(jax.jit, static_argnames=("network",))
def read(
    network: Network, params: Params, state: State, carry: Carry, xs: Array
) -> tuple[Carry, Array]:
    """Feeds xs ([T, B] tokens or [T, B, I] vectors) to the network one by one.

    Args:
      carry: `network.init_token_carry(B, params=params)`, or what an earlier call returned.

    Returns:
      (carry, logits [T, B, V]): logits[t] answers xs[t].
    """
    return jax.lax.scan(lambda c, x: network.token_step(params, state, c, x), carry, xs)


@functools.partial(jax.jit, static_argnames=("network", "num_tokens", "temperature", "top_k"))
def _generate(
    network: Network,
    params: Params,
    state: State,
    prompt: Array,
    key: Array,
    num_tokens: int,
    temperature: float,
    top_k: int | None,
) -> Array:
    carry = network.init_token_carry(prompt.shape[1], params=params)
    carry, logits = read(network, params, state, carry, prompt)

    def next_token(loop: tuple[Carry, Array], key: Array) -> tuple[Any, Array]:
        carry, logits = loop
        token = sample(key, logits, temperature=temperature, top_k=top_k)
        return network.token_step(params, state, carry, token), token

    _, tokens = jax.lax.scan(next_token, (carry, logits[-1]), jax.random.split(key, num_tokens))
    return tokens


def generate(
    network: Network,
    params: Params,
    state: State,
    prompt: Array,
    num_tokens: int,
    *,
    key: Array | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Array:
    """Continues a prompt.

    Args:
      network: a causal network over tokens whose classes are its input tokens.
      params, state: of the network.
      prompt: [T, B] int tokens, T >= 1; where all of the first are -1, the zero input, they begin a
        sequence of a network that was trained to answer it with the first token.
      num_tokens: how many to generate, static.
      key: PRNG key for sampling; not needed with temperature 0.
      temperature: logits are divided by it before sampling; 0 takes the likeliest token.
      top_k: sample among the k likeliest tokens only; None: among all.

    Returns:
      [num_tokens, B] int32.

    Raises:
      ValueError: the network is not causal or not over tokens, params belong to another, the prompt
        is empty or not of integers, one of its tokens is not a class (checked only outside of jit),
        or a number is out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU, Network, generate
      >>> network = Network(GRU(8), input_size=10, output_size=10, tokens=True)
      >>> params, state = network.init(jax.random.key(0))
      >>> prompt = jnp.zeros((3, 2), jnp.int32)
      >>> generate(network, params, state, prompt, 7, key=jax.random.key(1), temperature=0.8).shape
      (7, 2)
    """
    network.check_causal()
    network.check_params(params)
    if not network.tokens or network.input_size != network.output_size:
        raise ValueError(
            f"the network reads {network.input_size} {'tokens' if network.tokens else 'features'} "
            f"and writes {network.output_size} classes; accepted is one that writes what it reads"
        )
    if prompt.ndim != 2 or prompt.shape[0] < 1:
        raise ValueError(f"prompt has shape {prompt.shape}; accepted is [T, B] with T >= 1")
    if not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise ValueError(f"prompt has dtype {prompt.dtype}; accepted are integers")
    if not isinstance(prompt, jax.core.Tracer):
        begun = np.asarray(prompt[1:] if (prompt[0] == -1).all() else prompt)
        least, most = (np.min(begun), np.max(begun)) if begun.size else (0, 0)
        if least < 0 or most >= network.input_size:
            raise ValueError(
                f"prompt has tokens {least} to {most}; accepted are 0 to {network.input_size - 1}"
            )
    if num_tokens < 1:
        raise ValueError(f"num_tokens is {num_tokens}; accepted are integers >= 1")
    if not temperature >= 0:  # NaN too
        raise ValueError(f"temperature is {temperature}; accepted are numbers >= 0")
    if top_k is not None and not 1 <= top_k <= network.output_size:
        raise ValueError(f"top_k is {top_k}; accepted are None and 1 to {network.output_size}")
    if key is None:
        if temperature > 0:
            raise ValueError("key is None; accepted with a temperature > 0 is a PRNG key")
        key = jax.random.key(0)
    return _generate(network, params, state, prompt, key, num_tokens, temperature, top_k)


def sample(key: Array, logits: Array, *, temperature: float, top_k: int | None = None) -> Array:
    """One token from each row of logits [B, V]: [B] int32. Temperature and top_k are static."""
    if temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    # Relative to the largest, and divided by a normal number: inf and 0 / 0 could not be sampled.
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    temperature = max(temperature, float(jnp.finfo(logits.dtype).tiny))
    if top_k is not None:
        logits, tokens = jax.lax.top_k(logits, top_k)
        choice = jax.random.categorical(key, logits / temperature)[..., None]
        return jnp.take_along_axis(tokens, choice, axis=-1)[..., 0]
    return jax.random.categorical(key, logits / temperature).astype(jnp.int32)
