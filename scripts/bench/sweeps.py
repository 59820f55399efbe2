"""The part of the benchmark that trains members together, beside the same members in turn."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from tlstm_jax import training, zoo
from tlstm_jax.network import Network
from tlstm_jax.scripts.bench.measure import Contender, in_turns
from tlstm_jax.sweeps.members import init_members, member, train_members
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.training import Overrides
from tlstm_jax.training.settings import TrainSettings

MEMBERS = 6
STEPS = 20
MODELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lstm", {"features": 16}),
    ("lstm", {"features": 68}),
    ("lstm", {"features": 200}),
    ("tlstm", {"features": 12, "tensor_shape": (3,), "normalization": "channel"}),
    ("tlstm", {"features": 40, "tensor_shape": (3,), "normalization": "channel"}),
    ("tlstm", {"features": 100, "tensor_shape": (4,), "normalization": "channel"}),
    ("tlstm", {"features": 50, "tensor_shape": (3, 3), "normalization": "none"}),
)


def sweeps(model: str, settings: dict[str, Any], seconds: float) -> Iterator[dict[str, Any]]:
    """Section sweep: MEMBERS members for STEPS steps, on memorization of 5 symbols with batch 16.

    In turn they share one compiled program, which runs of other learning rates on their own would
    not.
    """
    task = memorization(5, 8, batch_size=16)
    sizes = {"input_size": task.input_size, "output_size": task.output_size, "tokens": True}
    network = zoo.make_network(model, **sizes, **settings)
    rows = _contenders(network, task)
    in_turns(rows, seconds=seconds)
    shape = getattr(network.model.cell, "tensor_shape", (1,))
    for row in rows:
        low, high = row.spread
        yield {
            "section": "sweep",
            "B": task.batch_size,
            "M": settings["features"],
            "T": 2 * task.size + 2,
            "L": "x".join(map(str, shape)),
            "name": f"{model}, {row.name}",
            "ms": 1e3 * row.median,
            "ms_quartiles": [1e3 * low, 1e3 * high],
            "of_in_turn": row.median / rows[0].median,
            "compile_seconds": row.compile_seconds,
            "peak_mb": None if row.peak_bytes is None else row.peak_bytes / 1e6,
        }


def _contenders(network: Network, task: Any) -> list[Contender]:
    settings = TrainSettings(
        num_steps=STEPS, eval_every=STEPS, checkpoint_every=STEPS, steps_per_call=STEPS
    )
    overrides = Overrides({}, {}, {"learning_rate": jnp.full(MEMBERS, 1e-3)})
    seeds, active = jnp.arange(MEMBERS), jnp.ones(MEMBERS, bool)
    states = init_members(network, task, settings, seeds, overrides)
    one = training.train_call.lower(network, task, settings, member(states, 0), ())
    alone, alone_seconds = _compiled(one)
    all_ = train_members.lower(network, task, settings, states, active, (), overrides)
    together, seconds = _compiled(all_)

    def in_turn() -> None:
        for n in range(MEMBERS):
            jax.block_until_ready(alone(member(states, n), ()))

    def as_one() -> None:
        copies = jax.tree.map(jnp.copy, states)  # they are donated
        jax.block_until_ready(together(copies, active, (), overrides))

    return [
        Contender("in turn", in_turn, 0.0, alone_seconds, _peak(alone)),
        Contender("together", as_one, 0.0, seconds, _peak(together)),
    ]


def _compiled(lowered: Any) -> tuple[Callable[..., Any], float]:
    begin = time.perf_counter()
    compiled = lowered.compile()
    return compiled, time.perf_counter() - begin


def _peak(compiled: Any) -> int | None:
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes
