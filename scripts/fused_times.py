"""Times a training step's loop over time, fused against deferred, on the device that is there.

    python -m scripts.fused_times

One line of JSON for each cell: milliseconds of value and gradient with each engine, and how far their
gradients are apart, relative to the largest entry. On a GPU products are rounded to TF32 by both.
"""

import functools
import json
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax import GRU, LSTM, MILSTM, PeepholeLSTM, TensorizedLSTM, unroll
from tlstm_jax.typing import Array, Cell, Params

CELLS: dict[str, Cell] = {
    "LSTM 64": LSTM(64),
    "LSTM 100": LSTM(100),
    "LSTM 128 bfloat16": LSTM(128, dtype=jnp.bfloat16),
    "GRU 100": GRU(100),
    "MI-LSTM 100": MILSTM(100),
    "peephole LSTM 100": PeepholeLSTM(100),
    "2D tLSTM+CN 64, P=4": TensorizedLSTM(64, (4,), normalization="channel"),
    "2D tLSTM+CN 100, P=7": TensorizedLSTM(100, (7,), normalization="channel"),
    "2D tLSTM+CN 100, P=7 bfloat16": TensorizedLSTM(
        100, (7,), normalization="channel", dtype=jnp.bfloat16
    ),
}


def milliseconds(function: Callable[..., Any], *args: Any, repeats: int = 20) -> float:
    """The median time of a call, after one that compiles."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - before)
    return 1e3 * sorted(times)[repeats // 2]


def compare(
    cell: Cell, *, num_steps: int, batch_size: int, input_size: int, repeats: int = 20
) -> dict[str, float]:
    """Milliseconds of value and gradient with each engine, and the distance of their gradients."""
    params = cell.init(jax.random.key(0), input_size)
    xs = jax.random.normal(jax.random.key(1), (num_steps, batch_size, input_size))

    def loss(engine: str, params: Params, xs: Array) -> Array:
        ys = unroll(cell, params, cell.init_carry(batch_size), xs, engine=engine)[1]
        return jnp.mean(jnp.square(ys.astype(jnp.float32)))

    steps = {
        name: jax.jit(jax.value_and_grad(functools.partial(loss, name)))
        for name in ("deferred", "fused")
    }
    out = {name: milliseconds(step, params, xs, repeats=repeats) for name, step in steps.items()}
    a, b = (jax.tree.leaves(step(params, xs)[1]) for step in steps.values())
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in a)
    apart = max(float(jnp.max(jnp.abs(x - y))) for x, y in zip(a, b, strict=True))
    return {**out, "times as fast": out["deferred"] / out["fused"], "apart": apart / scale}


def all_cells(
    num_steps: int = 50, batch_size: int = 15, input_size: int = 64, repeats: int = 20
) -> Iterator[dict[str, Any]]:
    """`compare` for each of CELLS."""
    for name, cell in CELLS.items():
        sizes = {"num_steps": num_steps, "batch_size": batch_size, "input_size": input_size}
        yield {"cell": name, **sizes, **compare(cell, **sizes, repeats=repeats)}


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
    for line in all_cells():
        print(json.dumps({"device": jax.devices()[0].device_kind, **line}), flush=True)
