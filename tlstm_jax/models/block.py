"""A block around a recurrent layer: normalization, short convolution, gate, and projections.

What the papers of linear recurrences stack: Griffin (De et al., 2024), Mamba (Gu and Dao, 2023),
GLA (Yang et al., ICML 2024), xLSTM (Beck et al., NeurIPS 2024) and others, with small differences.

    n_t = norm(x_t)
    u_t = silu(sum_d w_d * (n_{t-d} W_up) + b)      over d = 0 .. conv_size - 1
    o_t = norm(model(u)_t)                          each head by itself
    y_t = x_t + (o_t * silu(n_t W_gate)) W_down

In a first layer (`embed`) x_t W_in, as wide as y_t, stands in the place of x_t.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import check_size, input_kernel, is_integer, linear, times, widened
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.checks import check_call, check_model
from tlstm_jax.models.residual import check_vectors
from tlstm_jax.models.sequence import as_sequence, finished_first
from tlstm_jax.recurrence.linear_scan import segment_ids, shift
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, Cell, InputShape, Params, SequenceModel, State

EPSILON = 1e-6  # added to mean squares


class BlockCarry(NamedTuple):
    model: Carry
    window: Array  # the last inputs of the convolution, oldest first [B, conv_size - 1, E]


@dataclasses.dataclass(frozen=True)
class Block:
    """A block around a model of vectors without delay; a SequenceModel.

    Parameters: {"norm": {"scale" [M]}, "up": {"kernel" [M, E]}, "convolution": {"kernel" [conv_size,
    E], "bias" [E]}, "model": .., "output_norm": {"scale" [E]}, "gate": {"kernel" [M, E]}, "down":
    {"kernel" [E, M]}}, with E the model's features; and with `embed` "input": {"kernel" [I, M]}.

    Attributes:
      model: a Cell or a SequenceModel.
      features: M, the width of outputs.
      embed: whether inputs, of any width or tokens, go through a linear map first; without, they must
        be vectors as wide as outputs.
      normalize: whether inputs, and the model's outputs, are divided by their root mean square.
      conv_size: steps that the convolution sees; 1: there is none, nor its SiLU.
      gate: whether outputs are gated.
      dtype: the dtype of the computation; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import GLA, Block
      >>> model = Block(GLA(8), features=4, embed=False)
      >>> params, state = model.init(jax.random.key(0), input_shape=4)
      >>> carry, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 4)))
      >>> ys.shape, carry.window.shape
      ((5, 2, 4), (2, 3, 8))
    """

    model: Cell | SequenceModel
    features: int
    _: dataclasses.KW_ONLY
    embed: bool = True
    normalize: bool = True
    conv_size: int = 4
    gate: bool = True
    dtype: Any = None

    delay: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_model("model", self.model)
        check_size("features", self.features)
        if not is_integer(self.conv_size, 1):
            raise ValueError(f"conv_size is {self.conv_size}; accepted are integers >= 1")
        if self.model.delay:
            raise ValueError(
                f"model is a {type(self.model).__name__} with a delay of {self.model.delay}; accepted "
                "in a block are models without"
            )

    @property
    def causal(self) -> bool:
        return self.model.causal

    @property
    def finished_first(self) -> tuple[bool, ...]:
        return finished_first(self.model)

    @property
    def _model(self) -> SequenceModel:
        return as_sequence(self.model)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I, M, E = vector_size(self, input_shape), self.features, self.model.features
        keys = iter(jax.random.split(key, 6))
        params: dict[str, Any] = {}
        if not self.embed and I != M:
            raise ValueError(
                f"input_shape is {input_shape}; accepted by a block of {M} features without embed is "
                f"{M}"
            )
        if self.embed:
            params["input"] = {"kernel": input_kernel(next(keys), (I, M), None)}
        params["up"] = {"kernel": input_kernel(next(keys), (M, E), None)}
        params["model"], state = self._model.init(next(keys), E)
        params["down"] = {"kernel": input_kernel(next(keys), (E, M), None)}
        if self.gate:
            params["gate"] = {"kernel": input_kernel(next(keys), (M, E), None)}
        if self.normalize:
            params["norm"] = {"scale": jnp.ones((M,), jnp.float32)}
            params["output_norm"] = {"scale": jnp.ones((E,), jnp.float32)}
        if self.conv_size > 1:
            kernel = input_kernel(next(keys), (self.conv_size, E), None)
            params["convolution"] = {"kernel": kernel, "bias": jnp.zeros((E,), jnp.float32)}
        return params, state

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> BlockCarry:
        inner = self._model.init_carry(batch_size, dtype, params=params and params["model"])
        held = (batch_size, self.conv_size - 1, self.model.features)
        return BlockCarry(inner, jnp.zeros(held, self.dtype or dtype))

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> BlockCarry:
        inner = self._model.init_token_carry(batch_size, dtype, params=params and params["model"])
        return self.init_carry(batch_size, dtype, params=params)._replace(model=inner)

    def apply(
        self,
        params: Params,
        state: State,
        carry: BlockCarry,
        xs: Array,
        *,
        lengths: Array | None = None,
        reset: Array | None = None,
        **options: Any,
    ) -> tuple[BlockCarry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M]."""
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        x, n = self._read(params, zero_beyond(xs, lengths))
        held, us = self._convolved(params, carry.window, n, lengths, reset)
        options |= {"lengths": lengths, "reset": reset}
        inner, os, state, aux = self._model.apply(
            params["model"], state, carry.model, us, **options
        )
        ys = self._written(params, x, n, os)
        if lengths is not None:
            ys = select(sequence_mask(xs, lengths), ys, jnp.zeros_like(ys))
        return BlockCarry(inner, held), ys, state, aux

    def token_step(
        self, params: Params, state: State, carry: BlockCarry, x: Array
    ) -> tuple[BlockCarry, Array]:
        x, n = self._read(params, x)
        held, us = self._convolved(params, carry.window, n[None], None, None)
        inner, o = self._model.token_step(params["model"], state, carry.model, us[0])
        return BlockCarry(inner, held), self._written(params, x, n, o)

    def _read(self, params: Params, x: Array) -> tuple[Array, Array]:
        """x as wide as y, and n."""
        if self.embed:
            x = linear(x, params["input"], self.dtype)
        else:
            check_vectors(x)
            x = x.astype(self.dtype or params["down"]["kernel"].dtype)
        return x, root_mean_square(x, params["norm"], 1) if self.normalize else x

    def _convolved(
        self, params: Params, held: Array, n: Array, lengths: Array | None, reset: Array | None
    ) -> tuple[Array, Array]:
        """(what the convolution holds at the end, u [T, B, E])."""
        ups = linear(n, params["up"], self.dtype)
        if self.conv_size == 1:
            return held, ups
        kernel, bias = (params["convolution"][k].astype(ups.dtype) for k in ("kernel", "bias"))
        segments, sums = segment_ids(reset, lengths), times(ups, kernel[0])
        source = ups.astype(held.dtype)
        for d in range(1, self.conv_size):
            at_end, late = shift(held[:, self.conv_size - 1 - d :], source, segments, lengths)
            sums = sums + times(late.astype(ups.dtype), kernel[d])
        return at_end, jax.nn.silu(sums + jnp.broadcast_to(bias, sums.shape))

    def _written(self, params: Params, x: Array, n: Array, o: Array) -> Array:
        o = o.astype(x.dtype)
        if self.normalize:
            o = root_mean_square(o, params["output_norm"], getattr(self.model, "num_heads", 1))
        if self.gate:
            o = o * jax.nn.silu(linear(n, params["gate"], self.dtype))
        return x + linear(o, params["down"], self.dtype)


def root_mean_square(x: Array, params: Params, groups: int) -> Array:
    """x / sqrt(mean(x^2)) * scale, of each of so many groups along the last axis by itself.

    Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
    """
    parts = x.reshape(*x.shape[:-1], groups, -1)
    squares = jnp.mean(jnp.square(parts), axis=-1, keepdims=True)
    parts = parts * lax.rsqrt(squares + jnp.asarray(EPSILON, x.dtype))
    return times(parts.reshape(x.shape), params["scale"])
