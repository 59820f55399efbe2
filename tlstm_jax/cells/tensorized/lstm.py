"""The tensorized LSTM.

He, Gao, Xiao, Liu, He, Barber, "Wider and Deeper, Cheaper and Faster: Tensorized LSTMs for Sequence
Learning", NIPS 2017 (arXiv 1711.01577).

The hidden state is a tensor H_t [P_1..P_D, M] of locations p with M channels each, updated by one
cross-layer convolution a step. A wider tensor needs no new parameters; a deeper one no new
sequential steps, since a step works on L inputs at once, each in its own wave of locations.

    X'_t     = x_t W^x + b^x                              [M]
    A_t      = H^cat_{t-1} (*) W^h + b^h                  [P.., Z]   X'_t enters at the first corner
    g,i,f,o,q = split(A_t)                                M, M, M, M, K^D channels
    G, I, F, O, Q = tanh(g), sigm(i), sigm(f), sigm(o), softmax(q)
    C^conv(p) = sum_k Q(p)[k] C_{t-1}(clip(p - r + k))    [P.., M]   (or C_{t-1})
    C_t      = G * I + C^conv * F
    H_t      = tanh(norm(C_t)) * O
    y_t      = H_{t+L-1}(P - 1)                           [M]        read at the last corner

Where the paper is silent: a location waits, its H and C zero, until the wave of the sequence's
first input reaches it (u(p) steps), which the carry's `age` counts; memory is normalized only on
its way to the output, and carried un-normalized.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax.cells.base import SplitStep
from tlstm_jax.cells.linear import as_tuple, check_epsilon, linear
from tlstm_jax.cells.shapes import vector_size
from tlstm_jax.cells.tensorized import convolution, waves
from tlstm_jax.cells.tensorized import memory as memory_cells
from tlstm_jax.cells.tensorized import shared as tensor
from tlstm_jax.overrides import STATIC, plain
from tlstm_jax.typing import Array, InputShape, Params

NORMALIZATIONS = (None, "channel", "layer")


class TensorizedLSTMCarry(NamedTuple):
    hidden: Array  # H [B, P_1..P_D, M], compute dtype
    memory: Array  # C [B, P_1..P_D, M], the dtype given to init_carry
    age: Array  # [B] int32: steps since the sequence began, saturating at L - 1


class TensorizedLSTMTokenCarry(NamedTuple):
    hidden: Array  # [B, 2, N, M]: H of all N locations on the last two tokens
    memory: Array  # [B, 2, N, M]: C of the same


@dataclasses.dataclass(frozen=True)
class TensorizedLSTM(SplitStep):
    """The tensorized LSTM (tLSTM) in every configuration of the paper.

    The paper's names: "2D tLSTM" is tensor_shape (P,) and kernel_size 3; "-F" (no feedback) is
    kernel_size 2; "-M" is memory_convolution=False; "+CN" and "+LN" are the normalizations; "3D
    tLSTM" is (P, P).

    Parameters: {"input": {"kernel" [I, M], "bias" [M]}, "cross_layer": {"kernel" [K,..,K, M, Z],
    "bias" [Z]}, "norm": {"scale", "bias"} [P_1..P_D, M]}, with Z = 4M + K^D (4M without memory-cell
    convolution), "norm" only with a normalization; without one, the number of parameters does not
    depend on P.

    Layer normalization couples locations that work on different inputs, so that with depth > 1 y_t
    depends, through a mean and a variance, on inputs up to t + L - 1: such a model is not causal.

    Attributes:
      features: M, the channels of a location.
      tensor_shape: (P_1..P_D); any number of axes.
      kernel_size: K >= 2, the kernel size along every tensor axis.
      memory_convolution: whether each location's memory is mixed with its neighbours'.
      normalization: None, "channel" (over the M channels of each location) or "layer" (over all
        locations and channels).
      forget_bias: initial b^h of the f channels, on average; the other biases of b^h start at 0.
      forget_spread: by how much these differ at most: each starts at forget_bias + U(-forget_spread,
        forget_spread), so that some memories are short and some long. The paper's is 0.
      input_scale: initial standard deviation of W^x; None is variance scaling, 1 / sqrt(I). For
        token inputs 1 learns faster.
      input_bias_scale: initial standard deviation of b^x. With 0, a run of zero inputs keeps C = 0,
        where channel normalization's gradient explodes.
      kernel_scale: factor on W^h's variance-scaled standard deviation 1 / sqrt(K^D M). Below 1,
        gradients over hundreds of steps grow less.
      epsilon: added to the variance in normalization; > 0.
      dtype: the dtype of the computation; None is the parameters' dtype.
      convolution: how the cross-layer convolution is computed: "conv", "products" or "auto", as in
        `convolution.cross_layer_convolution`.
      convolution_gradient: how it is differentiated: "products", "xla" or "auto".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tlstm_jax import TensorizedLSTM, unroll
      >>> cell = TensorizedLSTM(4, tensor_shape=(3, 3), normalization="channel")
      >>> params = cell.init(jax.random.key(0), input_shape=10)
      >>> carry, ys = unroll(cell, params, cell.init_carry(2), jnp.zeros((5, 2), jnp.int32))
      >>> ys.shape, carry.memory.shape, cell.delay
      ((5, 2, 4), (2, 3, 3, 4), 2)
    """

    features: int
    tensor_shape: tuple[int, ...]
    _: dataclasses.KW_ONLY
    kernel_size: int = 3
    memory_convolution: bool = True
    normalization: str | None = None
    forget_bias: float = 1.0
    forget_spread: float = 3.0
    input_scale: float | None = None
    input_bias_scale: float = 0.1
    kernel_scale: float = 1.0
    epsilon: float = dataclasses.field(default=1e-5, metadata=STATIC)
    dtype: Any = None
    convolution: str = "auto"
    convolution_gradient: str = "auto"

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "tensor_shape", as_tuple(self.tensor_shape))
        tensor.check_settings(self)
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(
                f"normalization is {self.normalization!r}; accepted are None, 'channel' and 'layer'"
            )
        check_epsilon(self.epsilon)

    @property
    def depth(self) -> int:
        """L: the steps from the input corner to the output corner."""
        return convolution.depth(self.tensor_shape, self.kernel_size)

    @property
    def delay(self) -> int:
        """L - 1: steps between reading x_t and emitting y_t."""
        return self.depth - 1

    @property
    def causal(self) -> bool:
        """Whether y_t depends on no later input: not with layer normalization at depth > 1."""
        return self.normalization != "layer" or self.depth == 1

    @property
    def gates(self) -> int:
        """Z, the channels of the pre-activation A_t."""
        taps = self.kernel_size ** len(self.tensor_shape) if self.memory_convolution else 0
        return 4 * self.features + taps

    def init(self, key: Array, input_shape: InputShape) -> Params:
        I = vector_size(self, input_shape)
        params = tensor.init_params(self, key, I, self.gates)
        M = self.features
        draws = jax.random.uniform(jax.random.fold_in(key, 3), (M,), jnp.float32, -1.0, 1.0)
        spread = jnp.asarray(self.forget_spread, jnp.float32) * draws
        forget = jnp.asarray(self.forget_bias, jnp.float32) + spread
        bias = params["cross_layer"]["bias"]
        params["cross_layer"]["bias"] = bias.at[2 * M : 3 * M].set(forget)
        if self.normalization is not None:
            shape = (*self.tensor_shape, M)
            params["norm"] = {
                "scale": jnp.ones(shape, jnp.float32),
                "bias": jnp.zeros(shape, jnp.float32),
            }
        return params

    def init_carry(self, batch_size: int, dtype: Any = jnp.float32) -> TensorizedLSTMCarry:
        shape = (batch_size, *self.tensor_shape, self.features)
        return TensorizedLSTMCarry(
            hidden=jnp.zeros(shape, self.dtype or dtype),
            memory=jnp.zeros(shape, dtype),
            age=jnp.zeros((batch_size,), jnp.int32),
        )

    def project(self, params: Params, x: Array) -> Array:
        """X' = x W^x + b^x: [.., I] or tokens [..] to [.., M]."""
        return linear(x, params["input"], self.dtype)

    def mix(self, params: Params, carry: TensorizedLSTMCarry, z: Array) -> Array:
        """A_t: [B, P.., Z] from H_{t-1} and z = X'_t."""
        return tensor.mix(self, params["cross_layer"], carry.hidden, z)

    def update(
        self, params: Params, carry: TensorizedLSTMCarry, a: Array
    ) -> tuple[TensorizedLSTMCarry, Array]:
        """C_t, H_t from A_t, and the output corner."""
        C, O = self._remember(
            a, carry.memory, lambda Q: memory_cells.memory_cell_convolution(carry.memory, Q)
        )
        awake = tensor.awake(self, carry.age)
        C = jnp.where(awake, C, jnp.zeros_like(C))  # before it is normalized: statistics see zeros
        H = self._expose(params.get("norm"), C, O)
        H = jnp.where(awake, H, jnp.zeros_like(H)).astype(carry.hidden.dtype)
        age = jnp.minimum(carry.age + 1, self.delay)
        return TensorizedLSTMCarry(H, C, age), tensor.output_corner(H)

    def _remember(
        self, a: Array, memory: Array, convolve: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """C_t and the output gate O, [B, .., M] in the memory's dtype.

        a [B, .., Z], memory [B, .., M]; `convolve` makes C^conv [B, .., M] of Q [B, .., K^D].
        """
        M = self.features
        g, i, f, o, q = jnp.split(a.astype(memory.dtype), [M, 2 * M, 3 * M, 4 * M], axis=-1)
        G, I, F, O = jnp.tanh(g), jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
        C_conv = convolve(memory_cells.softmax_over_taps(q)) if self.memory_convolution else memory
        return G * I + C_conv * F, O

    def _expose(self, norm: Params | None, C: Array, O: Array) -> Array:
        """H_t = tanh(norm(C_t)) * O."""
        if self.normalization is not None:
            axes = (-1,) if self.normalization == "channel" else tuple(range(1, C.ndim))
            scale, bias = norm["scale"].astype(C.dtype), norm["bias"].astype(C.dtype)
            C = memory_cells.normalize(C, scale, bias, axes, self.epsilon)
        return jnp.tanh(C) * O

    def init_token_carry(
        self, batch_size: int, dtype: Any = jnp.float32
    ) -> TensorizedLSTMTokenCarry:
        shape = (batch_size, 2, math.prod(self.tensor_shape), self.features)
        return TensorizedLSTMTokenCarry(
            jnp.zeros(shape, self.dtype or dtype), jnp.zeros(shape, dtype)
        )

    def token_step(
        self, params: Params, carry: TensorizedLSTMTokenCarry, x: Array
    ) -> tuple[TensorizedLSTMTokenCarry, Array]:
        """y_t [B, M] of x_t at once, computing every location once, wave after wave.

        Raises:
          ValueError: the cell is not causal.
        """
        if not self.causal:
            raise ValueError(
                "normalization is 'layer', which is not causal at depth > 1; accepted token by "
                "token are None and 'channel'"
            )

        z = self.project(params, x)
        H, C = waves.table(carry.hidden, z), waves.table(carry.memory)
        for wave in waves.schedule(self.tensor_shape, self.kernel_size):
            a = waves.mix(params["cross_layer"], H, wave)
            near = C[:, wave.neighbours]  # [B, n, K^D, M]
            memory, O = self._remember(
                a,
                C[:, wave.own],
                lambda Q: jnp.sum(Q[..., None] * near, axis=-2),  # noqa: B023
            )
            norm = jax.tree.map(
                lambda p: p.reshape(-1, self.features)[wave.locations],  # noqa: B023
                params.get("norm"),
            )
            hidden = self._expose(norm, memory, O)
            H = H.at[:, wave.locations].set(hidden.astype(H.dtype))
            C = C.at[:, wave.locations].set(memory)
        return TensorizedLSTMTokenCarry(waves.tokens(H), waves.tokens(C)), waves.output(H)
