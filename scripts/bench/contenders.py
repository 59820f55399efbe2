"""What is timed: this library's models, torch.nn.LSTM and Flax's RNN, each as its users would."""

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax import LSTM, Stacked, TensorizedLSTM, as_sequence
from tlstm_jax.scripts.bench import work
from tlstm_jax.scripts.bench.measure import Contender
from tlstm_jax.typing import Array, PyTree, SequenceModel

PEERS = ("torch", "flax")


def installed(peer: str) -> bool:
    """Whether the package of a peer is installed."""
    return importlib.util.find_spec(peer) is not None


def tlstm(M: int, shape: tuple[int, ...], **settings: Any) -> SequenceModel:
    """A tensorized LSTM with kernels of 3; `engine` apart, settings are the cell's."""
    engine = settings.pop("engine", "deferred")
    return as_sequence(TensorizedLSTM(M, shape, **settings), engine=engine)


def stacked(M: int, layers: int) -> SequenceModel:
    """The stacked LSTM with separate weights, equal to torch.nn.LSTM."""
    return Stacked(LSTM(M), layers)


def ours(
    name: str,
    model: SequenceModel,
    B: int,
    M: int,
    T: int,
    flops: float,
    *,
    training: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Contender:
    """A model on float inputs [T, B, M]: its outputs, or a loss's gradient by its parameters.

    Args:
      options: of the compiler.
    """
    return _ours(name, model, (T, B, M), flops, training, options)


def ours_on_maps(
    name: str, model: SequenceModel, shape: tuple[int, ...], flops: float
) -> Contender:
    """A loss's gradient by a model's parameters, for float inputs [T, B, ..spatial.., I]."""
    return _ours(name, model, shape, flops, training=True)


def _ours(
    name: str,
    model: SequenceModel,
    shape: tuple[int, ...],
    flops: float,
    training: bool,
    options: Mapping[str, Any] | None = None,
) -> Contender:
    params = jax.jit(lambda key: model.init(key, shape[2:])[0])(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), shape)

    def outputs(params: PyTree, xs: Array) -> Array:
        return model.apply(params, (), model.init_carry(xs.shape[1]), xs)[1]

    return _jitted(name, outputs, params, xs, flops, training, options)


def flax_lstm(
    name: str, B: int, M: int, T: int, layers: int, flops: float, *, training: bool = True
) -> Contender:
    """`layers` of flax.linen.RNN over OptimizedLSTMCell, batch-major."""
    from flax import linen as nn

    model = nn.Sequential([nn.RNN(nn.OptimizedLSTMCell(M)) for _ in range(layers)])
    xs = jax.random.normal(jax.random.key(1), (B, T, M))
    params = jax.jit(model.init)(jax.random.key(0), xs)
    return _jitted(name, model.apply, params, xs, flops, training)


def flax_conv_lstm(name: str, features: int, shape: tuple[int, ...], flops: float) -> Contender:
    """flax.linen.RNN over ConvLSTMCell with kernels of 3, batch-major, for inputs as above."""
    from flax import linen as nn

    axes = len(shape) - 3
    model = nn.RNN(nn.ConvLSTMCell(features, kernel_size=(3,) * axes))
    T, B, *sizes = shape
    xs = jax.random.normal(jax.random.key(1), (B, T, *sizes))
    params = jax.jit(model.init)(jax.random.key(0), xs)
    return _jitted(name, model.apply, params, xs, flops, training=True)


def torch_lstm(
    name: str, B: int, M: int, T: int, layers: int, flops: float, *, training: bool = True
) -> Contender:
    """torch.nn.LSTM with `layers` layers, time-major, on an NVIDIA device if there is one."""
    import torch

    where = "cuda" if torch.cuda.is_available() else "cpu"
    model = torch.nn.LSTM(M, M, layers).to(where)
    xs = torch.randn(T, B, M, device=where)

    def call() -> None:
        if training:
            model.zero_grad()
            model(xs)[0].square().mean().backward()
        else:
            with torch.no_grad():
                model(xs)
        if where == "cuda":
            torch.cuda.synchronize()

    return Contender(name, call, flops)


def matrix_product(name: str, rows: int, inner: int, columns: int) -> Contender:
    """[rows, inner] x [inner, columns], float32."""
    a = jax.random.normal(jax.random.key(0), (rows, inner))
    b = jax.random.normal(jax.random.key(1), (inner, columns))
    # As often as a model's steps, so that the weights are as warm in the cache as theirs.
    repeat = max(20, int(3e9 // (2 * rows * inner * columns)))

    def products(a: Array, b: Array) -> Array:
        # Each depends on the one before, so that they are not computed only once.
        def body(a: Array, _: None) -> tuple[Array, None]:
            out = a @ b
            return a.at[0, 0].set(out[0, 0] * 1e-9), None

        return jax.lax.scan(body, a, None, length=repeat)[0]

    compiled = jax.jit(products).lower(a, b).compile()
    return Contender(
        name, lambda: jax.block_until_ready(compiled(a, b)), 2.0 * rows * inner * columns * repeat
    )


def _jitted(
    name: str,
    outputs: Callable[[PyTree, Array], Array],
    params: PyTree,
    xs: Array,
    flops: float,
    training: bool,
    options: Mapping[str, Any] | None = None,
) -> Contender:
    def loss(params: PyTree, xs: Array) -> Array:
        return jnp.mean(jnp.square(outputs(params, xs).astype(jnp.float32)))

    step = jax.value_and_grad(loss) if training else outputs
    begin = time.perf_counter()
    lowered = jax.jit(step).lower(params, xs)
    compiled = lowered.compile(compiler_options=dict(options) if options else None)
    seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    peak = None
    if memory is not None:
        peak = (
            memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        )
    return Contender(
        name, lambda: jax.block_until_ready(compiled(params, xs)), flops, seconds, peak
    )


def lstm_training_flops(B: int, M: int, T: int, layers: int) -> float:
    """The first layer's inputs get no gradient."""
    return work.TRAINING * work.lstm_flops(B, M, T, layers) - T * B * 2 * M * 4 * M


def tlstm_training_flops(B: int, M: int, T: int, shape: tuple[int, ...], kernel_size: int) -> float:
    """Nor do the tensorized LSTM's."""
    return work.TRAINING * work.tlstm_flops(B, M, T, shape, kernel_size) - T * B * 2 * M * M
