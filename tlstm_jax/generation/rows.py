"""Row by row, and every row pixel by pixel."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tlstm_jax.network import Network
from tlstm_jax.typing import Array, Carry, Params, State


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
    if network.row_mask != "A":
        raise ValueError(
            f"the network's row_mask is {network.row_mask!r}; accepted by generate_rows is 'A': a "
            "pixel's logits depend on none of its row but those before it"
        )
    return _generate_rows(network, params, state, key, batch_size, num_rows, draw)[0]
