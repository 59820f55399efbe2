"""The parts of the benchmark; each yields groups of rows measured beside one another."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tlstm_jax import LSTM, ConvLSTM, Network, Stacked, TensorizedLSTM, as_sequence, unroll
from tlstm_jax.generation import read
from tlstm_jax.scripts.bench import contenders as c
from tlstm_jax.scripts.bench.measure import Contender, in_turns

KERNEL = 3
NAIVE_FLOPS = 2e10  # the naive gradient is measured on fewer steps of the same size


class Size(NamedTuple):
    """Batch, channels, steps, depth."""

    B: int
    M: int
    T: int
    L: int


SIZES = (
    Size(15, 100, 52, 7),
    Size(15, 100, 52, 10),
    Size(50, 100, 784, 3),
    Size(16, 400, 52, 4),
    Size(100, 512, 50, 4),
)
CELL_SIZES = (Size(15, 100, 52, 1), Size(16, 400, 52, 1), Size(50, 100, 784, 1))
MAPS = ((19, 16, 16, 16, 1), (28, 50, 28, 1))  # frames, and rows of images: [T, B, .., I]
PRODUCT = "matrix product"


def training_steps(size: Size, peers: tuple[str, ...], seconds: float) -> Iterator[dict[str, Any]]:
    """Section a: forward and backward, equal work and equal parameters."""
    B, M, T, L = size
    rows = _contenders(B, M, T, L, peers)
    narrow = _equal_parameters(B, M, T, L, peers)
    gates = 4 * M + KERNEL
    product = c.matrix_product(PRODUCT, B * L, KERNEL * M, gates)
    in_turns([product, *rows, *narrow.values()], seconds=seconds)
    equal = {"tLSTM 2D": rows[0], **narrow}  # the model that the others equal in parameters
    for row in [product, *rows]:
        yield {
            **as_row("training", size, row),
            "share_of_product": row.gflops / product.gflops,
            "equal_parameters_ms": 1e3 * equal[row.name].median if row.name in equal else None,
        }


def _contenders(B: int, M: int, T: int, L: int, peers: tuple[str, ...]) -> list[Contender]:
    tensorized = {
        "tLSTM 2D": ((L,), {}),
        "tLSTM 2D+CN": ((L,), {"normalization": "channel"}),
        "tLSTM 3D": ((L, L), {}),
        "tLSTM 3D+CN": ((L, L), {"normalization": "channel"}),
    }
    rows = []
    for name, (shape, settings) in tensorized.items():
        flops = c.tlstm_training_flops(B, M, T, shape, KERNEL)
        rows.append(c.ours(name, c.tlstm(M, shape, **settings), B, M, T, flops))
    step = c.tlstm_training_flops(B, M, 1, (L,), KERNEL)
    few = min(T, max(L, math.ceil(NAIVE_FLOPS / step)))
    naive = c.tlstm(M, (L,), engine="scan", convolution_gradient="xla")
    rows.append(c.ours(f"naive tLSTM 2D (T = {few})", naive, B, M, few, few * step))
    rows.append(c.ours("stacked LSTM", c.stacked(M, L), B, M, T, c.lstm_training_flops(B, M, T, L)))
    rows.append(c.ours("LSTM", as_sequence(LSTM(M)), B, M, T, c.lstm_training_flops(B, M, T, 1)))
    return rows + _peers(B, M, T, L, peers)


def _peers(B: int, M: int, T: int, L: int, peers: tuple[str, ...]) -> list[Contender]:
    flops = c.lstm_training_flops(B, M, T, L)
    make = {"torch": ("torch.nn.LSTM", c.torch_lstm), "flax": ("Flax RNN", c.flax_lstm)}
    return [make[peer][1](make[peer][0], B, M, T, L, flops) for peer in peers]


def _equal_parameters(
    B: int, M: int, T: int, L: int, peers: tuple[str, ...]
) -> dict[str, Contender]:
    """The models with about as many parameters as the 2D tensorized LSTM, by name."""
    parameters = KERNEL * M * (4 * M + KERNEL) + M * M
    stack = _width(parameters, lambda m: 8 * m * m * L)
    cube = _width(parameters, lambda m: KERNEL**2 * m * (4 * m + KERNEL**2) + m * m)
    one = _width(parameters, lambda m: 8 * m * m)
    rows = [
        c.ours("tLSTM 3D", c.tlstm(cube, (L, L)), B, cube, T, 0),
        c.ours("stacked LSTM", c.stacked(stack, L), B, stack, T, 0),
        c.ours("LSTM", as_sequence(LSTM(one)), B, one, T, 0),
        *_peers(B, stack, T, L, peers),
    ]
    return {row.name: row for row in rows}


def _width(parameters: int, count: Any) -> int:
    return min(range(1, 4096), key=lambda m: abs(count(m) - parameters))


def depths(B: int, training: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """Section b: run time as L grows at fixed parameters, tLSTM beside the stacked shared LSTM."""
    M, T = 100, 52
    rows = {}
    for L in range(1, 11):
        flat = c.tlstm_training_flops(B, M, T, (L,), KERNEL)
        deep = c.lstm_training_flops(B, M, T, L)
        shared = Stacked(LSTM(M), L, shared=True)
        rows[L, "tLSTM 2D"] = c.ours("tLSTM 2D", c.tlstm(M, (L,)), B, M, T, flat, training=training)
        rows[L, "stacked LSTM, shared"] = c.ours(
            "stacked LSTM, shared", shared, B, M, T, deep, training=training
        )
    in_turns(list(rows.values()), seconds=seconds)
    for (L, name), row in rows.items():
        section = "depth, training" if training else "depth, forward"
        sequential = T + L - 1 if name.startswith("tLSTM") else T * L
        yield {**as_row(section, Size(B, M, T, L), row), "sequential_steps": sequential}


def lstm_cell(size: Size, peers: tuple[str, ...], seconds: float) -> Iterator[dict[str, Any]]:
    """Section c: one LSTM layer against the peers."""
    B, M, T, L = size
    flops = c.lstm_training_flops(B, M, T, L)
    rows = [c.ours("LSTM", as_sequence(LSTM(M)), B, M, T, flops), *_peers(B, M, T, L, peers)]
    in_turns(rows, seconds=seconds)
    yield from (as_row("LSTM", size, row) for row in rows)


def maps(
    shape: tuple[int, ...], features: int, peers: tuple[str, ...], seconds: float
) -> Iterator[dict[str, Any]]:
    """Section e: a convolutional LSTM over inputs [T, B, ..spatial.., I], beside Flax's."""
    T, B, *spatial, I = shape
    taps, locations = KERNEL ** len(spatial), T * B * math.prod(spatial)
    of_x, of_h = (2 * locations * taps * size * 4 * features for size in (I, features))
    flops = 2 * of_x + 3 * of_h  # inputs get no gradient
    cell = ConvLSTM(features, spatial_shape=tuple(spatial), kernel_size=KERNEL)
    rows = [
        c.ours_on_maps(name, as_sequence(cell, engine=engine), shape, flops)
        for name, engine in (("ConvLSTM", "deferred"), ("ConvLSTM, engine=scan", "scan"))
    ]
    if "flax" in peers:
        rows.append(c.flax_conv_lstm("Flax ConvLSTMCell", features, shape, flops))
    in_turns(rows, seconds=seconds)
    for row in rows:
        yield {**as_row("maps", Size(B, features, T, 1), row), "shape": (*spatial, I)}


def memory(B: int, T: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Long sequences: peak memory and time, saving everything or every sqrt(T)-th carry."""
    M, L = 100, 3
    cell = TensorizedLSTM(M, (L,), kernel_size=KERNEL, normalization="channel")
    flops = c.tlstm_training_flops(B, M, T, (L,), KERNEL)
    rows = []
    for remat_every in (None, math.isqrt(T)):
        model = as_sequence(cell, remat_every=remat_every)
        rows.append(c.ours(f"remat_every={remat_every}", model, B, M, T, flops))
    in_turns(rows, seconds=seconds)
    yield from (as_row("memory", Size(B, M, T, L), row) for row in rows)


def generation(shape: tuple[int, ...], seconds: float) -> Iterator[dict[str, Any]]:
    """Section d: tokens per second at batch 1, in waves and by L steps per token."""
    M, V, N = 100, 64, 100
    cell = c.tlstm(M, shape, normalization="channel").cell
    network = Network(cell, V, V, tokens=True)
    params, state = network.init(jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (N, 1), 0, V)

    def waves(params: Any, tokens: Any) -> Any:
        return read(network, params, state, network.init_token_carry(1), tokens)[1]

    def recomputed(params: Any, tokens: Any) -> Any:
        def token(carry: Any, x: Any) -> tuple[Any, Any]:
            carry, y = unroll(cell, params["model"], carry, x[None])
            return carry, network.readout(params, y[0])

        return jax.lax.scan(token, cell.init_carry(1), tokens)[1]

    def row(name: str, function: Any) -> Contender:
        compiled = jax.jit(function).lower(params, tokens).compile()
        return Contender(name, lambda: jax.block_until_ready(compiled(params, tokens)), 0.0)

    rows = [row("in waves", waves), row("L steps per token", recomputed)]
    difference = jnp.max(jnp.abs(rows[0].call() - rows[1].call()))
    if difference > 1e-3:
        raise AssertionError(f"the two ways differ by {difference}")
    in_turns(rows, seconds=seconds)
    for contender in rows:
        result = as_row("generation", Size(1, M, N, cell.depth), contender)
        yield {**result, "shape": shape, "tokens_per_second": N / contender.median}


def as_row(section: str, size: Size, row: Contender) -> dict[str, Any]:
    """What was measured of a contender, as the report has it."""
    low, high = row.spread
    return {
        "section": section,
        **size._asdict(),
        "name": row.name,
        "ms": 1e3 * row.median,
        "ms_quartiles": [1e3 * low, 1e3 * high],
        "rounds": len(row.seconds),
        "gflops": row.gflops,
        "compile_seconds": row.compile_seconds,
        "peak_mb": None if row.peak_bytes is None else row.peak_bytes / 1e6,
    }
