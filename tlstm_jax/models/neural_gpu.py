"""The Neural GPU: a convolutional GRU over all positions of a sequence, as many steps as it is long.

Kaiser and Sutskever, "Neural GPUs Learn Algorithms", ICLR 2016.

    S_0[0, t] = x_t W,  S_0[i, t] = 0 in the other rows          S [w, n, M], n the sequence's length
    S_{k+1} = CGRU_L(.. CGRU_1(S_k))                             k = 0 .. n - 1
    y_t = S_n[0, t]

    CGRU(S) = u * S + (1 - u) * tanh(conv(r * S) + b)
    u, r = s'(conv(S) + b) each                                  s'(a) = clip(1.2 sigm(a) - 0.1, 0, 1)

Convolutions are over rows and positions, with zeros outside.

Relaxation: R copies of all CGRUs, of which step k takes number k mod R, and a cost that pulls them
together, pull * sum (p - mean p)^2. In the paper the pull grows by a factor whenever the curriculum
makes progress, until sequences have their full length; then the copies are replaced by their mean.
Here the model counts training steps: the pull grows exponentially over `relaxation_steps` of them, and
from then on all steps, in training and outside, take the mean.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tlstm_jax.cells.linear import (
    check_rate,
    check_size,
    input_kernel,
    is_integer,
    linear,
    widened,
)
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.cells.tensorized.convolution import sum_dtype
from tlstm_jax.checks import check_call
from tlstm_jax.devices.layout import on_any_mesh
from tlstm_jax.models.cgru import Places, cgru, init_cgru, matrices, places
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.recurrence.loop import select
from tlstm_jax.recurrence.unrolling import check_remat, zero_beyond
from tlstm_jax.typing import Array, Aux, Carry, InputShape, Params, PyTree, State

ONCE = ("input", "readout", "embedding")  # parameters of which there are no copies
DROPOUT_LENGTH = 8  # up to which the rate of dropout is that of the setting


@dataclasses.dataclass(frozen=True)
class NeuralGPU:
    """A Neural GPU; a SequenceModel that is not causal, and has no carry.

    An example of length n makes n steps, and its outputs are those of the example alone. What lies
    between two resets is a sequence of its own; so is each segment of a stream (flush=False). The
    model cannot generate.

    Parameters: {"input": {"kernel" [I, M]}, "layer_0": .., "layer_1": ..}, each layer as `init_cgru`
    has it: {"gates": {"kernel" [k, k, M, 2M], "bias" [2M]}, "candidate": {"kernel" [k, k, M, M],
    "bias" [M]}}, kernels over rows and positions, gates in the order u, r. With relaxation, the
    arrays of the layers have an axis R in front, the state is {"steps": float32}, the training steps,
    and `aux` has "relaxation" in training.

    Attributes:
      features: M, of every row and of y.
      width: w >= 1, the rows of the state. The time of a step grows with w^2.
      num_layers: L >= 1, CGRUs of a step.
      kernel_size: k, odd: of the kernels, along rows and positions.
      cutoff: c >= 1 of the gates' s'(a) = clip(c sigm(a) - (c - 1) / 2, 0, 1); 1: the sigmoid.
      gate_bias: initial bias of u and r.
      recurrent_dropout: rate of dropout on the entire state before every step, 0.06 to 0.135 in the
        paper; on a sequence of more than 8 positions, 8 / n times that.
      relaxation: R >= 1, copies of the CGRUs, 6 in the paper; 1: none.
      relaxation_pull: initial weight of the cost that pulls the copies together.
      relaxation_growth: by what factor that weight grows over relaxation_steps.
      relaxation_steps: training steps after which the copies become one, their mean.
      input_scale: initial standard deviation of W; None is variance scaling, 1 / sqrt(I).
      dtype: the dtype of the products; None is the parameters' dtype. The state is float32 or wider.
      remat_every: save the state only every so many steps, recompute the rest; None: after each.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import NeuralGPU
      >>> model = NeuralGPU(4)
      >>> params, state = model.init(jax.random.key(0), 3)
      >>> _, ys, *_ = model.apply(params, state, model.init_carry(2), jnp.ones((5, 2, 3)))
      >>> ys.shape, params["layer_0"]["gates"]["kernel"].shape
      ((5, 2, 4), (3, 3, 4, 8))
    """

    features: int
    _: dataclasses.KW_ONLY
    width: int = 4
    num_layers: int = 2
    kernel_size: int = 3
    cutoff: float = dataclasses.field(default=1.2, metadata=STATIC)
    gate_bias: float = 1.0
    recurrent_dropout: float = dataclasses.field(default=0.0, metadata=STATIC)
    relaxation: int = 1
    relaxation_pull: float = dataclasses.field(default=0.0005, metadata=STATIC)
    relaxation_growth: float = dataclasses.field(default=40.0, metadata=STATIC)
    relaxation_steps: int = 10_000
    input_scale: float | None = None
    dtype: Any = None
    remat_every: int | None = None

    delay: ClassVar[int] = 0
    causal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        plain(self)
        for name in ("features", "width", "num_layers", "relaxation", "relaxation_steps"):
            check_size(name, getattr(self, name))
        if not is_integer(self.kernel_size, 1) or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {self.kernel_size}; accepted are odd integers >= 1")
        bounds = {"cutoff": 1, "relaxation_pull": 0, "relaxation_growth": 1}
        for name, least in bounds.items():
            if not least <= getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; accepted are numbers >= {least}"
                )
        check_rate("recurrent_dropout", self.recurrent_dropout)
        check_remat(self.remat_every)

    @property
    def draws(self) -> bool:
        return self.recurrent_dropout > 0

    def init(self, key: Array, input_shape: InputShape) -> tuple[Params, State]:
        I = vector_size(self, input_shape)
        of_input, of_layers = jax.random.split(key)
        kernel = input_kernel(of_input, (I, self.features), self.input_scale)
        state = {"steps": jnp.zeros((), jnp.float32)} if self.relaxation > 1 else ()
        return {"input": {"kernel": kernel}} | self._init_layers(of_layers), state

    def _init_layers(self, key: Array, *, tape: bool = False) -> Params:
        sizes = (self.relaxation, self.kernel_size, self.features, self.gate_bias)
        keys = jax.random.split(key, self.num_layers)
        return {f"layer_{n}": init_cgru(k, *sizes, tape=tape) for n, k in enumerate(keys)}

    def init_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        """(), since every sequence starts from its inputs alone."""
        del batch_size, dtype, params
        return ()

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
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, Array, State, Aux]:
        """[T, B, I] or tokens [T, B] to [T, B, M].

        Raises:
          ValueError: recurrent_dropout without a key, in training.
        """
        del flush
        lengths, reset = check_call(self, params, carry, xs, lengths, reset, state=state)
        drops = train and self.draws
        if drops and key is None:
            raise ValueError(
                f"key is None; accepted by {type(self).__name__}, which draws masks in training, is "
                "a PRNG key"
            )
        xs, lengths = widened(xs), widened(lengths)
        embedded = linear(zero_beyond(xs, lengths), params["input"], self.dtype)
        aux = {}
        if self.relaxation > 1:
            steps = state["steps"]
            if train:
                aux = {"relaxation": self._pull(params, steps)}
                state = {"steps": steps + 1}
            one = self._are_one(steps)
            params = params | jax.tree.map(
                lambda p: jnp.where(one, _mean(p), p), self._copied(params)
            )
        place = places(xs, lengths, reset)
        ys = self._outputs(params, embedded, place, key if drops else None)
        return carry, ys.astype(embedded.dtype), state, aux

    def _outputs(self, params: Params, xs: Array, place: Places, key: Array | None) -> Array:
        """The first row [T, B, M] after the last step; xs: embedded, zero beyond the ends."""
        return self._encode(params, xs, place, key)[..., : self.features]

    def _encode(self, params: Params, xs: Array, place: Places, key: Array | None) -> Array:
        """S_n, [T, B, w M]."""
        layers, dtype = self._layers(params), xs.dtype
        rows = jnp.zeros((*xs.shape[:2], (self.width - 1) * self.features), sum_dtype(dtype))

        def step(S: Array, k: Array) -> Array:
            S = self._drop(key, k, S, place)
            for layer in self._of_step(layers, k):
                S = self._cgru(layer, S, place, k, dtype=dtype)
            return S

        return self._loop(step, jnp.concatenate([xs.astype(rows.dtype), rows], axis=-1))

    @property
    def _cgru(self) -> Callable[..., Array]:
        return functools.partial(cgru, kernel_size=self.kernel_size, cutoff=self.cutoff)

    def _layers(self, params: Params) -> list[Params]:
        """The layers' matrices, of all copies."""
        return [
            matrices(params[f"layer_{n}"], self.width, self.relaxation)
            for n in range(self.num_layers)
        ]

    def _of_step(self, layers: list[Params], k: Array) -> list[Params]:
        """The copies that step k takes."""
        if self.relaxation == 1:
            return layers
        index = k % self.relaxation
        return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False), layers)

    def _loop(self, step: Callable[[PyTree, Array], PyTree], state: PyTree) -> PyTree:
        """What `step(state, k)` makes of leaves [T, B, ..] in T steps, as many as positions."""
        T = jax.tree.leaves(state)[0].shape[0]
        steps = jnp.arange(T, dtype=jnp.int32)

        # Of a step only the state is saved: on a CPU the rest is recomputed faster than it is read.
        again = jax.checkpoint(step, prevent_cse=False)

        def scan(state: PyTree, steps: Array) -> tuple[PyTree, None]:
            return lax.scan(lambda state, k: (again(state, k), None), state, steps)

        if self.remat_every is None:
            return scan(state, steps)[0]
        chunk, end = jax.checkpoint(scan, prevent_cse=False), T - T % self.remat_every
        state, _ = lax.scan(chunk, state, steps[:end].reshape(-1, self.remat_every))
        return chunk(state, steps[end:])[0] if end < T else state

    def _drop(self, key: Array | None, k: Array, S: Array, place: Places) -> Array:
        """Dropout on the whole state before step k; with key None, S."""
        if key is None:
            return S
        length = jnp.maximum(place.length, DROPOUT_LENGTH).astype(S.dtype)
        keep = 1 - self.recurrent_dropout * DROPOUT_LENGTH / length
        keep = jnp.broadcast_to(keep[..., None], S.shape)
        kept = jax.random.bernoulli(jax.random.fold_in(key, k), keep)
        return select(place.working(k), jnp.where(kept, S / keep, jnp.zeros_like(S)), S)

    @staticmethod
    def _copied(params: Params) -> Params:
        """Those of which there are copies."""
        return {name: part for name, part in params.items() if name not in ONCE}

    def _are_one(self, steps: Array) -> Array:
        """Whether the copies have become one after so many training steps."""
        return steps >= self.relaxation_steps

    def _pull(self, params: Params, steps: Array) -> Array:
        """The cost of the copies' distances from their means; 0 once they are one."""
        copied = jax.tree.leaves(self._copied(params))
        cost = sum(jnp.sum(jnp.square(p - _mean(p))) for p in copied)
        weight = self.relaxation_pull * self.relaxation_growth ** (steps / self.relaxation_steps)
        weight = jnp.where(self._are_one(steps), jnp.zeros_like(weight), weight)
        return lax.stop_gradient(weight).astype(cost.dtype) * cost

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32, *, params: Params | None = None
    ) -> Carry:
        """Raises ValueError: see `token_step`."""
        raise ValueError(self._whole_only)

    def token_step(
        self, params: Params, state: State, carry: Carry, x: Array
    ) -> tuple[Carry, Array]:
        """Raises ValueError: what comes later is not known yet."""
        raise ValueError(self._whole_only)

    @property
    def _whole_only(self) -> str:
        name = type(self).__name__
        return f"{name} is not causal; accepted token by token are causal models"


def _mean(p: Array) -> Array:
    """The mean over the copies, in the place of each: [R, ..]."""
    return jnp.broadcast_to(jnp.mean(p, axis=0, keepdims=True), p.shape)
