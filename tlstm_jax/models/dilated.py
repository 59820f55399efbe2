"""Dilated recurrence: a model over interleaved sequences.

Chang, Zhang, Han, Yu, Guo, Tan, Cui, Witbrock, Hasegawa-Johnson and Huang, "Dilated Recurrent
Neural Networks", NIPS 2017.

    h_t = cell(x_t, h_{t-d})        h_t = 0 for t <= 0

The paper stacks them with dilations d = 1, 2, 4 and so on: `dilated_stack`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax.cells.linear import check_size, widened, zero_input
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.base import ModelWrapper
from tlstm_jax.models.chain import Chain
from tlstm_jax.models.sequence import memory_dtype
from tlstm_jax.recurrence.linear_scan import segment_ids
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask
from tlstm_jax.typing import Array, Aux, Carry, Cell, Params, PyTree, SequenceModel, State


@dataclasses.dataclass(frozen=True)
class Dilated(ModelWrapper):
    """`model` over d interleaved sequences, run side by side: d times fewer sequential steps.

    A SequenceModel with the model's parameters. Its carry holds those of the d sequences, in the
    order of their next use: leaves [B, d, ..]. It multiplies the model's delay by d.

    Attributes:
      model: a Cell or a SequenceModel.
      dilation: d >= 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GRU, Dilated
      >>> model = Dilated(GRU(4), dilation=2)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry[0].shape
      ((5, 2, 4), (2, 2, 4))
    """

    model: Cell | SequenceModel
    dilation: int

    def __post_init__(self) -> None:
        check_model("model", self.model)
        check_size("dilation", self.dilation)

    @property
    def delay(self) -> int:
        return self.dilation * self.model.delay

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        d = self.dilation
        return _apart(self._model.init_carry(d * batch_size, dtype, params=params), d)

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: Carry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, .., I] or tokens [T, B] to [T, B, .., M]."""
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        (T, B), d = xs.shape[:2], self.dilation
        even = lengths is None and T % d == 0
        ends = jnp.full((B,), T) if lengths is None else jnp.clip(lengths, 0, T)
        carry, ys, state, aux = self._model.apply(
            params,
            state,
            _together(carry),
            _fold(xs, d, zero_input(xs[:1])),
            flush=flush,
            lengths=None if even else _shares(ends, d),
            reset=None if reset is None else _fold(_window(reset, d), d, jnp.zeros((1, B), bool)),
            **options,
        )
        carry = _apart(carry, d)
        if not even:
            carry = jax.tree.map(lambda leaf: _roll(leaf, ends), carry)
        if reset is not None:
            start = _together(self.init_carry(B, memory_dtype(carry), params=params))
            stale = _stale(reset, ends, d)
            start = jax.tree.map(lambda a, b: a.astype(b.dtype), _apart(start, d), carry)
            carry = select(stale, start, carry)
        ys = ys.reshape(-1, B, *ys.shape[2:])[:T]
        if reset is not None and flush and self.delay:
            ys = select(_dropped(reset, ends, self.delay), jnp.zeros_like(ys), ys)
        return carry, ys, state, aux

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        d = self.dilation
        return _apart(self._model.init_token_carry(d * batch_size, dtype, params=params), d)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        now = jax.tree.map(lambda leaf: leaf[:, 0], carry)
        now, y = self._model.token_step(params, state, now, x)

        def push(queue: Array, new: Array) -> Array:
            return jnp.concatenate([queue[:, 1:], new[:, None]], axis=1)

        return jax.tree.map(push, carry, now), y


def dilated_stack(layers: tuple[Cell | SequenceModel, ...]) -> Chain:
    """The paper's network: layer l, counted from 0, has dilation 2^l.

    Example:
      >>> from tlstm_jax import GRU, dilated_stack
      >>> model = dilated_stack((GRU(4), GRU(4), GRU(4)))
      >>> [layer.dilation for layer in model.layers]
      [1, 2, 4]
    """
    return Chain(tuple(Dilated(layer, 2**n) for n, layer in enumerate(layers)))


def _apart(carry: PyTree, d: int) -> PyTree:
    """Leaves [d B, ..] to [B, d, ..]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(d, -1, *x.shape[1:]), 0, 1), carry)


def _together(carry: PyTree) -> PyTree:
    """Leaves [B, d, ..] to [d B, ..]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), carry)


def _fold(xs: Array, d: int, filler: Array) -> Array:
    """[T, B, ..] to [ceil(T / d), d B, ..], the end filled up with `filler` [1, B, ..]."""
    missing = -xs.shape[0] % d
    filled = jnp.concatenate([xs, *[filler] * missing])
    return filled.reshape(-1, d * xs.shape[1], *xs.shape[2:])


def _shares(ends: Array, d: int) -> Array:
    """How many of the first `ends` [B] steps fall to each of d sequences: [d B]."""
    first = jnp.broadcast_to(jnp.arange(d)[:, None].astype(ends.dtype), (d, ends.shape[0]))
    return ((ends[None] - first + d - 1) // d).reshape(-1)


def _window(reset: Array, d: int) -> Array:
    """Where one of the last d steps is a reset: each sequence's first step after it."""
    padded = jnp.concatenate([jnp.zeros((d - 1, reset.shape[1]), bool), reset])
    T = reset.shape[0]
    return jnp.any(jnp.stack([padded[n : n + T] for n in range(d)]), axis=0)


def _stale(reset: Array, ends: Array, d: int) -> Array:
    """Which sequences, in the order of their next use, have had no step since a reset: [B, d]."""
    steps = jnp.broadcast_to(jnp.arange(reset.shape[0])[:, None], reset.shape).astype(ends.dtype)
    reset = reset & sequence_mask(reset, ends)
    last = jnp.max(jnp.where(reset, steps, jnp.full_like(steps, -d)), axis=0)
    used = ends[:, None] + jnp.arange(d)[None].astype(ends.dtype) - d
    return last[:, None] > used


def _dropped(reset: Array, ends: Array, delay: int) -> Array:
    """Which outputs are still delayed at a reset, also one after the end of a sequence: [T, B]."""
    now = segment_ids(reset, ends)
    later = jnp.concatenate([now, *[now[-1:]] * delay])[delay:]
    return later > now


def _roll(leaf: Array, ends: Array) -> Array:
    """[B, d, ..] in the order of the next use, `ends` [B] steps later."""
    d = leaf.shape[1]
    order = (jnp.arange(d)[None].astype(ends.dtype) + ends[:, None]) % d
    return jax.vmap(lambda x, index: x[index])(leaf, order)
