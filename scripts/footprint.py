"""What a training step takes on each of so many devices: memory, and what goes between them.

python -m scripts.footprint --preset=char_lm/paper-3d-l6 --mesh=8
python -m scripts.footprint --preset=char_lm/paper-3d-l6 --mesh=2,4 --remat_every=10

Compiles one training step for that many virtual devices of the CPU and runs nothing, so that a laptop can
tell what a pod will need. Other devices' compilers fuse and lay out otherwise: their temporaries may
be a little more or less.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
from absl import flags

from scripts import cli, devices, settings
from scripts.traffic import collectives, summary
from tlstm_jax import training
from tlstm_jax.layout import Layout
from tlstm_jax.presets import PRESETS

RUN_FLAGS = settings.define_run_flags()
PRESET = flags.DEFINE_string("preset", None, f"Named settings: {', '.join(PRESETS)}.")
MOST = 4096  # virtual devices


def main() -> int:
    with cli.one_line_errors():
        chosen = settings.resolve(settings.given_flags(RUN_FLAGS), PRESET.value)
        task, network, train = chosen.make()
        train = dataclasses.replace(
            train, num_steps=1, eval_every=1, checkpoint_every=1, steps_per_call=1
        )
        layout = devices.layout()
        if layout is not None:
            layout.check(task.batch_size)
        state = training.abstract_state(network, task, train, layout)
        data = jax.tree.map(functools.partial(_abstract, layout=layout), task.data)
        program = training.train_call.lower(network, task, train, state, data, layout).compile()
        memory = program.memory_analysis()
        params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        lines = [
            ("parameters", f"{params:,}"),
            ("devices", f"{1 if layout is None else layout.mesh.size}"),
            ("arguments, on each: state and data", _megabytes(memory.argument_size_in_bytes)),
            ("temporaries, on each", _megabytes(memory.temp_size_in_bytes)),
        ]
        lines += [
            (f"{kind}, {times:,} times", _megabytes(sent))
            for kind, times, sent in summary(collectives(program.as_text()))
        ]
        for name, value in lines:
            print(f"{name:<40} {value:>16}")
        return 0
    return 1


def _abstract(x: Any, layout: Layout | None) -> jax.ShapeDtypeStruct:
    sharding = None if layout is None else layout.everywhere
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def _pretend() -> None:
    """Has JAX make as many devices of the CPU as the mesh wants."""
    number = math.prod(devices.MESH.value or (1,))
    if not 1 <= number <= MOST:
        raise ValueError(f"mesh has {number} devices; accepted are 1 to {MOST}")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", number)


if __name__ == "__main__":
    cli.run(main, connect=_pretend)
