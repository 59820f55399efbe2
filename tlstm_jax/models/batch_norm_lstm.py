"""The LSTM with recurrent batch normalization.

Cooijmans, Ballas, Laurent, Gulcehre and Courville, "Recurrent Batch Normalization", ICLR 2017.

    a = BN(x_t W) + BN(h_{t-1} U) + b
    i, f, o = sigm(a) each                   g = tanh(a)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(BN(c_t))                  y_t = h_t

BN(a) = scale * (a - mean) / sqrt(var + epsilon), of c_t also + bias. In training, mean and (biased)
variance are those of the batch, separately for every time step; otherwise their running means,
which are the model's state. Steps beyond `max_steps` share the last one's.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tlstm_jax.cells.linear import add_bias, check_epsilon, check_size, linear, times, widened
from tlstm_jax.cells.lstm import init_gates
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.base import DelayFreeModel
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.recurrence.delays import age_at_end, ages
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import sequence_mask, zero_beyond
from tlstm_jax.typing import Array, Aux, InputShape, Params, PyTree, State


class BatchNormCarry(NamedTuple):
    hidden: Array  # h [B, M]
    memory: Array  # c [B, M]
    age: Array  # int32 [B]: steps since the example's start


class Moments(NamedTuple):
    """Mean and variance of x W, h U and c: [.., 4M], [.., 4M] and [.., M]."""

    input: tuple[Array, Array]
    recurrent: tuple[Array, Array]
    memory: tuple[Array, Array]


@dataclasses.dataclass(frozen=True)
class BatchNormLSTM(DelayFreeModel):
    """The BN-LSTM; a SequenceModel whose state is {"mean", "var": {"input", "recurrent" [N, 4M],
    "memory" [N, M]}}, N = max_steps. Gates in the order i, f, g, o.

    Parameters: the LSTM's, and {"input_norm", "recurrent_norm": {"scale" [4M]}, "memory_norm":
    {"scale", "bias" [M]}}. The examples of a batch depend on each other in training.

    An input that is the same throughout the batch (a blank, say) has no variance, so any difference
    from its running mean is amplified: outside training, such steps are only accurate once the
    weights hardly change. Let the learning rate decay (schedule "cosine").

    Attributes:
      features: M.
      max_steps: N, the number of steps with statistics of their own.
      initial_noise: in training, the standard deviation of the noise on h_0, without which the
        first h U has no variance. It needs a key.
      momentum: the weight of a batch in the running means.
      scale: initial scale of every BN.
      identity: whether U starts as the identity for g, as in the authors' code for sequential MNIST
        (cooijmanstim/recurrent-batch-normalization); otherwise, and for the gates, it is
        orthogonal.
      forget_bias: initial bias of the f gate; the others start at 0.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      epsilon: added to the variances; > 0.
      dtype: the dtype of the products; None is the parameters' dtype.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import BatchNormLSTM
      >>> model = BatchNormLSTM(4, max_steps=5)
      >>> params, state = model.init(jax.random.key(0), input_shape=3)
      >>> xs, key = jnp.ones((5, 2, 3)), jax.random.key(1)
      >>> _, ys, state, _ = model.apply(params, state, model.init_carry(2), xs, key=key, train=True)
      >>> ys.shape, state["mean"]["input"].shape
      ((5, 2, 4), (5, 16))
    """

    features: int
    _: dataclasses.KW_ONLY
    max_steps: int = 100
    initial_noise: float = dataclasses.field(default=0.1, metadata=STATIC)
    momentum: float = dataclasses.field(default=0.1, metadata=STATIC)
    scale: float = 0.1
    identity: bool = False
    forget_bias: float = 1.0
    input_scale: float | None = None
    epsilon: float = dataclasses.field(default=1e-5, metadata=STATIC)
    dtype: Any = None

    def __post_init__(self) -> None:
        plain(self)
        check_size("features", self.features)
        check_size("max_steps", self.max_steps)
        check_epsilon(self.epsilon)
        if not 0 < self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}; accepted are numbers in (0, 1]")
        if not self.epsilon > 0:
            raise ValueError(f"epsilon is {self.epsilon}; accepted are numbers > 0")
        if not self.initial_noise >= 0:
            raise ValueError(f"initial_noise is {self.initial_noise}; accepted are numbers >= 0")

    @property
    def draws(self) -> bool:
        return bool(self.initial_noise)

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        M, N = self.features, self.max_steps
        params = init_gates(key, I, M, self.input_scale, self.forget_bias)
        if self.identity:
            kernel = params["recurrent"]["kernel"]
            kernel = kernel.at[:, 2 * M : 3 * M].set(jnp.eye(M, dtype=jnp.float32))
            params["recurrent"] = {**params["recurrent"], "kernel": kernel}

        def scales(size: int) -> Array:
            return jnp.full((size,), self.scale, jnp.float32)

        params |= {
            "input_norm": {"scale": scales(4 * M)},
            "recurrent_norm": {"scale": scales(4 * M)},
            "memory_norm": {"scale": scales(M), "bias": jnp.zeros((M,), jnp.float32)},
        }
        sizes = {"input": 4 * M, "recurrent": 4 * M, "memory": M}
        mean = {name: jnp.zeros((N, size), jnp.float32) for name, size in sizes.items()}
        return params, {"mean": mean, "var": jax.tree.map(jnp.ones_like, mean)}

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> BatchNormCarry:
        del params
        shape = (batch_size, self.features)
        return BatchNormCarry(
            jnp.zeros(shape, self.dtype or dtype),
            jnp.zeros(shape, dtype),
            jnp.zeros((batch_size,), jnp.int32),
        )

    @on_any_mesh
    def apply(
        self,
        params: Params,
        state: State,
        carry: BatchNormCarry,
        xs: Array,
        *,
        flush: bool = True,
        lengths: Array | None = None,
        reset: Array | None = None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[BatchNormCarry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M].

        In training, statistics are over the examples that have not ended.

        Raises:
          ValueError: initial_noise without a key, in training.
        """
        del flush
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        xs, lengths = widened(xs), widened(lengths)
        T, B = xs.shape[:2]
        mask = jnp.ones((T, B), bool) if lengths is None else sequence_mask(xs, lengths)
        steps = ages(carry.age, T, reset)
        zs = linear(zero_beyond(xs, lengths), params["input"], self.dtype)
        noise = self._noise(key, carry.hidden) if train else None

        def body(before: BatchNormCarry, inputs: tuple) -> tuple[BatchNormCarry, tuple]:
            z, mask_, step, reset_ = inputs
            zeros = BatchNormCarry(*(jnp.zeros_like(leaf) for leaf in before))
            carry = select(reset_, zeros, before) if reset_ is not None else before
            if noise is not None:
                first = select(step == 0, noise, jnp.zeros_like(noise))
                carry = carry._replace(hidden=carry.hidden + first)
            known = None if train else self._known(state, step)
            new, moments = self._step(params, carry, z, mask_, known)
            new = new._replace(age=before.age)
            y = select(mask_, new.hidden, jnp.zeros_like(new.hidden))
            return select(mask_, new, before), (y, moments if train else None)

        last, (ys, moments) = lax.scan(body, carry, (zs, mask, steps, reset))
        if train:
            state = self._running(state, moments, mask, steps)
        return last._replace(age=age_at_end(carry.age, T, reset, lengths)), ys, state, {}

    def _step(
        self, params: Params, carry: BatchNormCarry, z: Array, mask: Array, known: Moments | None
    ) -> tuple[BatchNormCarry, Moments]:
        """One step from x W; `known` statistics, or those of the examples where mask [B]."""
        wide = carry.memory.dtype
        hU = linear(carry.hidden, {"kernel": params["recurrent"]["kernel"]}, z.dtype).astype(wide)
        z = z.astype(wide)
        of_input = known.input if known else _moments(z, mask)
        of_recurrent = known.recurrent if known else _moments(hU, mask)
        a = self._normalize(z, of_input, params["input_norm"])
        a = a + self._normalize(hU, of_recurrent, params["recurrent_norm"])
        i, f, g, o = jnp.split(add_bias(a, params["recurrent"]["bias"]), 4, axis=-1)
        c = jax.nn.sigmoid(f) * carry.memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        of_memory = known.memory if known else _moments(c, mask)
        shown = self._normalize(c, of_memory, params["memory_norm"])
        h = (jax.nn.sigmoid(o) * jnp.tanh(shown)).astype(carry.hidden.dtype)
        return carry._replace(hidden=h, memory=c), Moments(of_input, of_recurrent, of_memory)

    def _normalize(self, a: Array, moments: tuple[Array, Array], params: Params) -> Array:
        mean, var = (jnp.broadcast_to(m.astype(a.dtype), a.shape) for m in moments)
        a = times((a - mean) * lax.rsqrt(var + self.epsilon), params["scale"])
        return add_bias(a, params["bias"]) if "bias" in params else a

    def _noise(self, key: Array | None, hidden: Array) -> Array | None:
        if not self.initial_noise:
            return None
        if key is None:
            raise ValueError(
                "key is None; accepted by BatchNormLSTM, which draws noise in training, is a PRNG "
                "key"
            )
        return self.initial_noise * jax.random.normal(key, hidden.shape, hidden.dtype)

    def _known(self, state: State, step: Array) -> Moments:
        """The running statistics of each example's step [B]."""
        row = jnp.minimum(step, self.max_steps - 1)
        names = ("input", "recurrent", "memory")
        return Moments(*((state["mean"][name][row], state["var"][name][row]) for name in names))

    def _running(self, state: State, moments: Moments, mask: Array, steps: Array) -> State:
        """The running means after one more batch, at every step within any example's length."""
        T, N = steps.shape[0], self.max_steps
        rows = jnp.broadcast_to(jnp.arange(T)[:, None], steps.shape)
        hits = jnp.zeros((T, N), moments.memory[0].dtype)
        hits = hits.at[rows, jnp.minimum(steps, N - 1)].max(mask.astype(hits.dtype))
        weights = hits / jnp.maximum(jnp.sum(hits, axis=0), 1.0)[None]
        seen = jnp.any(hits > 0, axis=0)[:, None]  # [N, 1]

        def blend(old: Array, new: Array) -> Array:
            mean = weights.T.astype(old.dtype) @ lax.stop_gradient(new).astype(old.dtype)
            blended = (1 - self.momentum) * old + self.momentum * mean
            return jnp.where(jnp.broadcast_to(seen, old.shape), blended, old)

        def part(n: int) -> PyTree:
            return {name: pair[n] for name, pair in moments._asdict().items()}

        return jax.tree.map(blend, state, {"mean": part(0), "var": part(1)})

    def token_step(
        self, params: Params, state: State, carry: BatchNormCarry, x: Array
    ) -> tuple[BatchNormCarry, Array]:
        z = linear(x, params["input"], self.dtype)
        mask = jnp.ones((z.shape[0],), bool)
        new, _ = self._step(params, carry, z, mask, self._known(state, carry.age))
        return new._replace(age=carry.age + 1), new.hidden


def _moments(a: Array, mask: Array) -> tuple[Array, Array]:
    """Mean and biased variance of the rows of a [B, M] where mask [B]: [M] each."""
    weights = mask[:, None].astype(a.dtype)
    weights = weights / jnp.maximum(jnp.sum(weights), jnp.ones((), a.dtype))
    mean = jnp.sum(a * weights, axis=0)
    centred = a - jnp.broadcast_to(mean, a.shape)
    return mean, jnp.sum(jnp.square(centred) * weights, axis=0)
