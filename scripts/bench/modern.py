"""The parts of the benchmark on recurrences that are not computed one step after the other."""

from collections.abc import Iterator
from typing import Any

import jax

from tlstm_jax import zoo
from tlstm_jax.cells.gru import GRU
from tlstm_jax.cells.para import ParaGRU, ParaLSTM
from tlstm_jax.cells.tensorized import TensorizedLSTM
from tlstm_jax.models import as_sequence
from tlstm_jax.recurrence import unroll_parallel
from tlstm_jax.scripts.bench import contenders as c
from tlstm_jax.scripts.bench.measure import Contender, in_turns
from tlstm_jax.scripts.bench.sections import Size, as_row
from tlstm_jax.typing import Cell

CHUNKED = ("gla", "retnet", "mamba2", "delta_net", "rwkv7")
CHUNK_SIZES = (1, 4, 8, 16, 32, 64)
OF_CHUNKS = Size(8, 128, 512, 1)
CELLS: tuple[Cell, ...] = (
    ParaGRU(64),
    ParaLSTM(64),
    GRU(16),
    TensorizedLSTM(4, (2,)),
    TensorizedLSTM(4, (2,), normalization="channel"),
)
OF_CELLS = (Size(2, 16, 512, 1), Size(2, 16, 4096, 1))


def chunks(name: str, seconds: float) -> Iterator[dict[str, Any]]:
    """A training step of a matrix recurrence by its chunk size; 1 is a loop over the steps."""
    B, M, T, _ = OF_CHUNKS
    rows = []
    for size in CHUNK_SIZES:
        model = zoo.make_model(name, features=M, num_layers=1, chunk_size=size)
        rows.append(c.ours(f"{name}, chunk_size={size}", model, B, M, T, flops=0.0))
    yield from _beside_first("chunks", OF_CHUNKS, rows, seconds)


def parallel(cell: Cell, size: Size, seconds: float) -> Iterator[dict[str, Any]]:
    """A cell at its start in a loop over time, and by Newton's iteration: forward, and training."""
    B, I, T, _ = size
    params = cell.init(jax.random.key(0), I)
    xs = jax.random.normal(jax.random.key(1), (T, B, I))
    solved = unroll_parallel(cell, params, cell.init_carry(B), xs)[2]
    for training in (False, True):
        rows = []
        for engine in ("deferred", "parallel"):
            label = f"{type(cell).__name__}, {'training' if training else 'forward'}, {engine}"
            model = as_sequence(cell, engine=engine)
            rows.append(c.ours(label, model, B, I, T, flops=0.0, training=training))
        for found in _beside_first("parallel", size, rows, seconds):
            newton = found["name"].endswith("parallel")
            iterations = int(solved.iterations) if newton else None
            yield {**found, "iterations": iterations, "converged": bool(solved.converged)}


def _beside_first(
    section: str, size: Size, rows: list[Contender], seconds: float
) -> Iterator[dict[str, Any]]:
    in_turns(rows, seconds=seconds)
    for each in rows:
        yield {**as_row(section, size, each), "of_first": each.median / rows[0].median}
