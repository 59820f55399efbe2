"""Generation: token by token, frame by frame, and pixel by pixel in rows.

A network generates through `token_step` alone: each token passes every location of a tensorized
cell once, in waves, with the same numbers as a run over the entire sequence.
"""

import functools
from collections.abc import Callable
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
    size = network.input_size if isinstance(network.input_size, tuple) else (network.input_size,)
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


def draw_binary(key: Array, logits: Array) -> Array:
    """Pixels 0 or 1, [B, 1] float32: of logits [B, 2] of zero and one, or [B, 1] of one."""
    if logits.shape[-1] == 1:
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(jnp.float32)
    return jax.random.categorical(key, logits)[:, None].astype(jnp.float32)


@functools.partial(jax.jit, static_argnames=("network", "batch_size", "num_rows", "draw"))
def _generate_rows(
    network: Network,
    params: Params,
    state: State,
    key: Array,
    batch_size: int,
    num_rows: int,
    draw: Callable[[Array, Array], Array],
) -> tuple[Array, Array]:
    """The images [H, B, W, I], and the logits [H, B, W, V] that their pixels were drawn from."""
    W, I = network.input_size

    def row(carry: Carry, key: Array) -> tuple[Carry, tuple[Array, Array]]:
        def pixel(x: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            c, key = now
            logits = network.token_step(params, state, carry, x)[1][:, c]
            return x.at[:, c].set(draw(key, logits).astype(x.dtype)), logits

        at = jnp.arange(W), jax.random.split(key, W)
        x, logits = jax.lax.scan(pixel, jnp.zeros((batch_size, W, I), jnp.float32), at)
        return network.token_step(params, state, carry, x)[0], (x, logits)

    carry = network.init_token_carry(batch_size, params=params)
    _, (rows, logits) = jax.lax.scan(row, carry, jax.random.split(key, num_rows))
    return rows, jnp.swapaxes(logits, 1, 2)


def generate_rows(
    network: Network,
    params: Params,
    state: State,
    batch_size: int,
    num_rows: int,
    *,
    key: Array,
    draw: Callable[[Array, Array], Array] = draw_binary,
) -> Array:
    """Draws images row by row, and every row pixel by pixel, from left to right.

    A row takes W + 1 evaluations of the network for that row, all with the carry of the row above:
    one for each pixel, from which it is drawn, and one for the row as a whole.

    Args:
      network: a causal network over rows, `input_size` (W, I) and `per_location`, whose logits at a
        pixel depend on no pixel of its row but those before it: `RowLSTM` with mask A, and above it
        with mask B.
      params, state: of the network.
      batch_size: B, how many images.
      num_rows: H.
      key: PRNG key for sampling.
      draw: (key, logits [B, V]) -> a pixel's values, [B, I] floats, pure and hashable. By default
        pixels are 0 or 1 (`draw_binary`).

    Returns:
      [H, B, W, I] float32.

    Raises:
      ValueError: the network is not such a one, params belong to another, or a number is out of
        range.

    Example:
      >>> import jax
      >>> from tlstm_jax import Network, generate_rows, make_model
      >>> model = make_model("row_lstm", features=8, spatial_shape=(5,))
      >>> network = Network(model, input_size=(5, 1), output_size=2, per_location=True)
      >>> params, state = network.init(jax.random.key(0))
      >>> generate_rows(network, params, state, 3, 4, key=jax.random.key(1)).shape
      (4, 3, 5, 1)
    """
    network.check_causal()
    network.check_params(params)
    sizes = network.input_size
    if not isinstance(sizes, tuple) or len(sizes) != 2 or not network.per_location:
        raise ValueError(
            f"the network has input_size {sizes} and per_location {network.per_location}; accepted "
            "by generate_rows are (W, I) and True"
        )
    if draw is draw_binary and (sizes[-1] != 1 or network.output_size > 2):
        raise ValueError(
            f"the network has {sizes[-1]} features and {network.output_size} logits a pixel; "
            "accepted without draw are 1, and 1 or 2"
        )
    for name, value in (("batch_size", batch_size), ("num_rows", num_rows)):
        if value < 1:
            raise ValueError(f"{name} is {value}; accepted are integers >= 1")
    if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((params, state))):
        _check_masked(network, params, state)
    return _generate_rows(network, params, state, key, batch_size, num_rows, draw)[0]


def _check_masked(network: Network, params: Params, state: State) -> None:
    """Raises ValueError if a pixel's logits depend on itself, or on later pixels of its row."""
    W, I = network.input_size
    one, other = jax.random.normal(jax.random.key(0), (2, W, W, I))
    later = jnp.arange(W)[None, :, None] >= jnp.arange(W)[:, None, None]  # of example c: >= c
    carry = network.init_token_carry(W, params=params)
    step = functools.partial(jax.jit(network.token_step), params, state, carry)
    first, second = (step(x)[1] for x in (one, jnp.where(later, other, one)))
    pixels = jnp.arange(W)
    change = jnp.max(jnp.abs(first - second)[pixels, pixels])
    if change > 1e-4 * jnp.max(jnp.abs(first)):
        raise ValueError(
            "a pixel's logits depend on itself or on later pixels of its row; accepted by "
            "generate_rows are those of pixels before it alone, as with mask='A' of a RowLSTM"
        )
